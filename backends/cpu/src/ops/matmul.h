// Matrix products of one barrier: cut into tasks of whole panels, claimed by the workers.
#pragma once
#include <algorithm>

#include "../plan.h"

namespace halflap::cpu {

struct MatmulJob {
  Type type;
  MatmulTask task;  // all rows; scratch is filled in per worker
};

// Bytes of the tiles of at most `rows` rows in at most `groups` separate runs.
inline int64_t tile_bytes(int64_t rows, int64_t runs, int64_t width) {
  return (rows / kTileTokens + runs) * chunks(width) * static_cast<int64_t>(sizeof(TileChunk));
}

// Puts the jobs' activations into tile form where the kernels and the number of tokens make it worth while. Jobs that
// read the same rows share tiles: `same` tells how many jobs follow each other so.
inline void pack_tiles(const Run &run, std::vector<MatmulJob> &jobs, size_t same, TileChunk *tiles) {
  if (!run.k.pack_tiles) return;
  struct Group {
    const MatmulTask *task;
    int64_t first;
    TileChunk *to;
  };
  std::vector<Group> groups;
  for (size_t j = 0; j < jobs.size(); j += same) {
    size_t source = j;
    while (source < j + same && source < jobs.size() && !is_quantised(jobs[source].type)) source++;
    if (source == jobs.size() || source == j + same || jobs[source].task.tokens < run.k.tiles_from) continue;
    const MatmulTask &task = jobs[source].task;
    for (size_t i = j; i < j + same && i < jobs.size(); i++) jobs[i].task.tiles = tiles;
    for (int64_t t = 0; t < task.tokens; t += kTileTokens, tiles += chunks(task.width)) groups.push_back({&task, t, tiles});
  }
  run.pool.run(static_cast<int64_t>(groups.size()), run.threads, [&](int64_t g, int) {
    const Group &group = groups[static_cast<size_t>(g)];
    const MatmulTask &task = *group.task;
    const Chunk *rows[kTileTokens];
    const int64_t n = std::min<int64_t>(kTileTokens, task.tokens - group.first);
    for (int64_t i = 0; i < n; i++)
      rows[i] = static_cast<const Chunk *>(task.x) +
                (task.gather ? task.gather[group.first + i] : group.first + i) * task.x_stride;
    run.k.pack_tiles(rows, n, chunks(task.width), task.tokens <= kNarrowTokens, group.to);
  });
}

// Rows of a task. Large steps take many, so that activations are read from the outer caches less often; small ones as
// many as spread over enough pages (see kernels/rows512.h). No more than leave work to share.
inline int64_t task_rows(const std::vector<MatmulJob> &jobs, int threads) {
  int64_t total = 0, tokens = 0, bytes = INT64_MAX;
  for (const MatmulJob &job : jobs) {
    total += job.task.rows;
    tokens = std::max(tokens, job.task.tokens);
    bytes = std::min(bytes, job.task.row_bytes);
  }
  constexpr int64_t kPage = 4096;
  int64_t rows = tokens >= 64 ? kTaskRows : tokens > kNarrowTokens ? kPanelRows : kPanelRows * ((kPage + bytes - 1) / bytes);
  if (tokens <= 2) rows /= 2;
  rows = std::clamp<int64_t>(rows, kPanelRows, kTaskRows);
  while (rows > kPanelRows && total < rows * 4 * threads) rows /= 2;
  return rows;
}

inline void run_matmuls(const Run &run, const std::vector<MatmulJob> &jobs) {
  const int64_t each = task_rows(jobs, run.threads);
  std::vector<int64_t> ends;  // of each job, in tasks
  int64_t tasks = 0;
  for (const MatmulJob &job : jobs) ends.push_back(tasks += (job.task.rows + each - 1) / each);
  run.pool.run(tasks, run.threads, [&](int64_t i, int worker) {
    const size_t j = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), i) - ends.begin());
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
