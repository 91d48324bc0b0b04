// Matrix products of one barrier: cut into tasks of whole panels, claimed by the workers.
#pragma once
#include "../plan.h"

namespace halflap::cpu {

struct MatmulJob {
  Type type;
  MatmulTask task;  // all rows; scratch is filled in per worker
};

inline void run_matmuls(const Run &run, const std::vector<MatmulJob> &jobs) {
  // Large steps take more rows at once, so that activations are read from the outer caches less often.
  int64_t total = 0;
  for (const MatmulJob &job : jobs) total += job.task.rows;
  const bool large = jobs.empty() ? false : jobs[0].task.tokens >= 64;
  const int64_t each = large && total >= kTaskRows * 4 * run.threads ? kTaskRows : kPanelRows;
  std::vector<int64_t> ends;  // of each job, in tasks
  int64_t tasks = 0;
  for (const MatmulJob &job : jobs) ends.push_back(tasks += (job.task.rows + each - 1) / each);
  run.pool.run(tasks, run.threads, [&](int64_t i, int worker) {
    size_t j = 0;
    while (i >= ends[j]) j++;
    MatmulTask task = jobs[j].task;
    const int64_t from = (i - (j ? ends[j - 1] : 0)) * each;
    task.weight += from * task.row_bytes;
    if (task.bias) task.bias += from;
    task.y += from;
    task.rows = task.rows - from < each ? task.rows - from : each;
    task.scratch = run.scratch(worker);
    run.k.matmul[static_cast<int>(jobs[j].type)](task);
  });
}

}  // namespace halflap::cpu
