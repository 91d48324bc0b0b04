// The process's worker threads. The caller is worker 0; others claim chunks of work from one counter, spin briefly when
// there is none, then sleep.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace halflap::cpu {

// Whether helpers are worth having. A helper that loses its processor to another process with a chunk in hand holds up
// the job for a time slice. So what helpers save is set against twice what they are waited for, and when the waits win,
// the caller works alone for a while, twice as long each time that it did not help, up to a second. Who loses its
// processor now and then, to a thread that answers clients say, keeps on helping. Times in nanoseconds.
class Patience {
 public:
  bool alone(int64_t now) const { return now < alone_until_; }

  // A shared job ended: the caller took `own` for its chunks of `count`, and then waited for the others.
  void ended(int64_t now, int64_t count, int64_t chunks, int64_t own, int64_t waited) {
    if (chunks == 0) return;  // no measure of what was saved
    credit_ += (count - chunks) * own / chunks - 2 * waited;
    if (credit_ > kCredit) credit_ = kCredit;
    if (credit_ >= 0) {
      in_time_ += own + waited;
      if (in_time_ >= pause_) pause_ = kShort;
      return;
    }
    in_time_ = 0;
    credit_ = kGrace;
    alone_until_ = now + pause_;
    pause_ = pause_ < kLong / 2 ? 2 * pause_ : kLong;
  }

  static constexpr int64_t kCredit = 4'000'000, kGrace = 500'000, kShort = 10'000'000, kLong = 1'000'000'000;

 private:
  int64_t alone_until_ = 0, pause_ = kShort, in_time_ = 0, credit_ = kCredit;
};

class Pool {
 public:
  static Pool &instance();

  // A device that uses `threads` was opened or closed; the last close joins every worker.
  void enter(int threads);
  void leave(int threads);

  int workers() const { return running_.load(); }

  // f(chunk, worker) for every chunk, on at most `threads` threads. Returns when all are done. f must not throw.
  template <class F>
  void run(int64_t count, int threads, F &&f) {
    if (count <= 0) return;
    if (count == 1 || threads <= 1) {
      for (int64_t i = 0; i < count; i++) f(i, 0);
      return;
    }
    using Body = std::remove_reference_t<F>;
    run_job(count, threads, [](void *body, int64_t i, int worker) { (*static_cast<Body *>(body))(i, worker); }, &f);
  }

 private:
  using Function = void (*)(void *body, int64_t chunk, int worker);

  void run_job(int64_t count, int threads, Function function, void *body);
  void wait_for_all(int64_t count);
  void work(int worker, uint32_t last);
  int64_t claim_all(uint32_t epoch, int worker);  // chunks done
  void start(int workers);
  void stop();

  // The published job. `ticket` holds epoch (24 bits), count (20) and next chunk (20); a claim exchanges it for one with
  // the next chunk, so a late worker can never take part in a newer job, and the other fields stand still while a
  // claimed chunk is unfinished.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<uint32_t> epoch_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<int> waiting_{0};
  std::atomic<uint32_t> done_{0};
  std::atomic<int> allowed_{0};  // workers numbered below this may help
  std::atomic<bool> closing_{false};
  std::atomic<int> running_{0};
  Function function_ = nullptr;
  void *body_ = nullptr;

  Patience patience_;  // of the caller, under busy_
  std::mutex busy_;   // one job at a time; a device that finds it taken works alone
  std::mutex roster_; // guards the members below
  std::vector<std::thread> threads_;
  std::vector<int> devices_;  // threads each open device wants
};

}  // namespace halflap::cpu
