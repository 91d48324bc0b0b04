// Matrix products of one barrier: cut into tasks of whole panels, claimed by the workers.
#pragma once
#include <algorithm>

#include "../plan.h"

namespace halflap::cpu {

struct MatmulJob {
  Type type;
  MatmulTask task;  // all rows; scratch is filled in per worker
};

// Bytes of what pack_activations makes of at most `rows` rows in at most `runs` separate runs.
inline int64_t packed_bytes(const Plan &plan, const std::vector<Type> &types, int64_t rows, int64_t runs, int64_t width) {
  int64_t each = 0;  // of sixteen rows
  bool integers = false, halves = false;
  for (const Type type : types) {
    integers |= plan.tiles && is_quantised(type);
    halves |= plan.halves && is_half(type);
  }
  if (integers) each += chunks(width) * static_cast<int64_t>(sizeof(TileChunk));
  if (halves) each += half_tiles(width) * kHalfTile * 2;
  return (rows / kTileTokens + runs) * each;
}

// Puts the jobs' activations into the forms that the kernels take them in: integers from some number of tokens on, pairs of
// bf16 for any. Jobs that read the same rows share them: `same` tells how many jobs follow each other so.
inline void pack_activations(const Run &run, std::vector<MatmulJob> &jobs, size_t same, uint8_t *packed) {
  struct Group {
    const MatmulTask *task;
    int64_t first;
    uint8_t *to;
    bool halves;
  };
  std::vector<Group> groups;
  const auto add = [&](size_t from, size_t end, bool halves) {
    const auto wants = [&](const MatmulJob &job) { return halves ? is_half(job.type) : is_quantised(job.type); };
    size_t source = from;
    while (source < end && !wants(jobs[source])) source++;
    if (source == end || (!halves && jobs[source].task.tokens < run.k.tiles_from)) return;
    const MatmulTask &task = jobs[source].task;
    for (size_t i = from; i < end; i++) {
      if (!wants(jobs[i])) continue;
      if (halves)
        jobs[i].task.halves = reinterpret_cast<uint16_t *>(packed);
      else
        jobs[i].task.tiles = reinterpret_cast<TileChunk *>(packed);
    }
    const int64_t bytes = halves ? half_tiles(task.width) * kHalfTile * 2 : chunks(task.width) * static_cast<int64_t>(sizeof(TileChunk));
    for (int64_t t = 0; t < task.tokens; t += kTileTokens, packed += bytes) groups.push_back({&task, t, packed, halves});
  };
  for (size_t j = 0; j < jobs.size(); j += same) {
    const size_t end = std::min(j + same, jobs.size());
    if (run.k.pack_tiles) add(j, end, false);
    if (run.k.pack_halves) add(j, end, true);
  }
  run.pool.run(static_cast<int64_t>(groups.size()), run.threads, [&](int64_t g, int) {
    const Group &group = groups[static_cast<size_t>(g)];
    const MatmulTask &task = *group.task;
    const int64_t n = std::min<int64_t>(kTileTokens, task.tokens - group.first);
    const auto rows = [&](auto *x, auto **to) {
      for (int64_t i = 0; i < n; i++) to[i] = x + (task.gather ? task.gather[group.first + i] : group.first + i) * task.x_stride;
    };
    if (group.halves) {
      const float *of[kTileTokens];
      rows(static_cast<const float *>(task.x), of);
      run.k.pack_halves(of, n, std::min<int64_t>(kTileTokens, task.tokens), task.width, reinterpret_cast<uint16_t *>(group.to));
    } else {
      const Chunk *of[kTileTokens];
      rows(static_cast<const Chunk *>(task.x), of);
      run.k.pack_tiles(of, n, chunks(task.width), task.tokens <= run.k.narrow_tokens, reinterpret_cast<TileChunk *>(group.to));
    }
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
  int64_t rows = tokens >= 64 ? kTaskRows : kPanelRows * ((kPage + bytes - 1) / bytes);
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
