// The pool under load: every chunk runs once, late workers never touch a newer job, stopping right after starting is
// safe, and several callers may come at once.
#include <algorithm>
#include "pool.h"

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"

using halflap::cpu::Pool;

namespace {

void run_jobs(int threads, int jobs) {
  for (int job = 0; job < jobs; job++) {
    const int64_t count = 1 + job % 37;
    std::vector<int> seen(static_cast<size_t>(count));
    Pool::instance().run(count, threads, [&](int64_t i, int worker) {
      CHECK(worker >= 0 && worker < threads);
      seen[static_cast<size_t>(i)]++;
    });
    for (int n : seen) CHECK(n == 1);
  }
}

void test_patience() {
  using halflap::cpu::Patience;
  constexpr int64_t kChunk = 10'000;
  Patience p;
  int64_t time = 1;
  const auto job = [&](int64_t waited) {
    time += 10 * kChunk + waited;
    p.ended(time, 20, 10, 10 * kChunk, waited);
  };
  for (int i = 0; i < 1000; i++) {  // waiting now and then is part of sharing
    job(i % 10 ? 0 : 400'000);
    CHECK(!p.alone(time));
  }
  int64_t pause = Patience::kShort;
  for (int i = 0; i < 10; i++) {
    job(3'000'000);
    CHECK(p.alone(time) && p.alone(time + pause - 1) && !p.alone(time + pause));
    time += pause;
    pause = std::min(2 * pause, Patience::kLong);
  }
  CHECK(pause == Patience::kLong);
  for (int64_t shared = 0; shared < Patience::kLong; shared += 10 * kChunk) job(0);
  job(3'000'000);
  CHECK(!p.alone(time + Patience::kShort));  // after a good time it is forgiven
  p.ended(time + Patience::kShort, 20, 0, 0, 3'000'000);  // a caller without a chunk has no measure of what is late
  CHECK(!p.alone(time + Patience::kShort));
}

}  // namespace

int main() {
  test_patience();
  Pool &pool = Pool::instance();
  for (int i = 0; i < 200; i++) {
    pool.enter(4);
    if (i % 2) run_jobs(4, i % 5);
    pool.leave(4);
    CHECK(pool.workers() == 0);
  }
  pool.enter(4);
  run_jobs(4, 20000);
  pool.enter(2);
  run_jobs(2, 2000);
  std::thread other([] { run_jobs(2, 2000); });
  run_jobs(4, 2000);
  other.join();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // workers fall asleep
  run_jobs(4, 200);
  pool.leave(2);
  CHECK(pool.workers() == 3);
  pool.leave(4);
  CHECK(pool.workers() == 0);
  return 0;
}
