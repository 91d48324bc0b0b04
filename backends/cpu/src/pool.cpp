#include "pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cfenv>
#include <chrono>
#include <climits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace halflap::cpu {

namespace {

constexpr int kBits = 20;
constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
constexpr int64_t kMostChunks = static_cast<int64_t>(kMask);
constexpr auto kSpin = std::chrono::microseconds(50);  // a wake costs 26 to 43 µs; longer spinning starves neighbours

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

void sleep_on(std::atomic<uint32_t> &word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void wake_all(std::atomic<uint32_t> &word) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// True as soon as `ready()`; false after the spinning time.
template <class F>
bool spin_until(F ready) {
  const auto begin = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 64; i++) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() - begin < kSpin);
  return false;
}

}  // namespace

Pool &Pool::instance() {
  static Pool *pool = new Pool;  // never destroyed: a host may exit with devices open
  return *pool;
}

void Pool::enter(int threads) {
  const std::lock_guard<std::mutex> lock(roster_);
  devices_.push_back(threads);
  if (threads - 1 > static_cast<int>(threads_.size())) {
    const std::lock_guard<std::mutex> quiet(busy_);
    start(threads - 1);
  }
}

void Pool::leave(int threads) {
  const std::lock_guard<std::mutex> lock(roster_);
  devices_.erase(std::find(devices_.begin(), devices_.end(), threads));
  if (devices_.empty()) {
    const std::lock_guard<std::mutex> quiet(busy_);
    stop();
  }
}

void Pool::start(int workers) {
  while (static_cast<int>(threads_.size()) < workers) {
    const int number = static_cast<int>(threads_.size()) + 1;
    // The epoch is read here: a thread that starts late must still see that the pool was stopped meanwhile.
    threads_.emplace_back([this, number, now = epoch_.load()] { work(number, now); });
    pthread_setname_np(threads_.back().native_handle(), "halflap-cpu");
    running_++;
  }
}

void Pool::stop() {
  closing_ = true;
  epoch_++;
  wake_all(epoch_);
  for (std::thread &thread : threads_) thread.join();
  threads_.clear();
  running_ = 0;
  closing_ = false;
}

// Takes chunks of the job of `epoch` until none is left.
int64_t Pool::claim_all(uint32_t epoch, int worker) {
  int64_t mine = 0;
  uint64_t seen = ticket_.load(std::memory_order_acquire);
  for (;;) {
    if (static_cast<uint32_t>(seen >> (2 * kBits)) != (epoch & 0xffffff)) return mine;
    const uint64_t chunk = seen & kMask, count = (seen >> kBits) & kMask;
    if (chunk >= count) return mine;
    if (!ticket_.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    function_(body_, static_cast<int64_t>(chunk), worker);
    mine++;
    if (done_.fetch_add(1, std::memory_order_seq_cst) + 1 == count && waiting_.load(std::memory_order_seq_cst)) wake_all(done_);
    seen = ticket_.load(std::memory_order_acquire);
  }
}

void Pool::work(int worker, uint32_t last) {
  fesetenv(FE_DFL_ENV);  // a thread inherits its creator's modes
  for (;;) {
    const auto news = [&] { return epoch_.load(std::memory_order_acquire) != last; };
    if (!spin_until(news)) {
      sleeping_.fetch_add(1, std::memory_order_seq_cst);
      while (!news()) sleep_on(epoch_, last);
      sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    }
    last = epoch_.load(std::memory_order_acquire);
    if (closing_.load()) return;
    if (worker < allowed_.load(std::memory_order_acquire)) claim_all(last, worker);
  }
}

void Pool::run_job(int64_t count, int threads, Function function, void *body) {
  std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
  if (!mine.owns_lock() || count > kMostChunks || running_.load() == 0 || patience_.alone(now())) {
    for (int64_t i = 0; i < count; i++) function(body, i, 0);
    return;
  }
  function_ = function;
  body_ = body;
  done_.store(0, std::memory_order_relaxed);
  allowed_.store(threads, std::memory_order_relaxed);
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  ticket_.store((static_cast<uint64_t>(epoch & 0xffffff) << (2 * kBits)) | (static_cast<uint64_t>(count) << kBits),
                std::memory_order_release);
  epoch_.store(epoch, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst)) wake_all(epoch_);

  const int64_t begun = now(), chunks = claim_all(epoch, 0), finished = now();
  wait_for_all(count);
  const int64_t ended = now();
  patience_.ended(ended, count, chunks, finished - begun, ended - finished);
}

void Pool::wait_for_all(int64_t count) {
  const auto all = [&] { return done_.load(std::memory_order_acquire) == static_cast<uint32_t>(count); };
  if (spin_until(all)) return;
  waiting_.store(1, std::memory_order_seq_cst);
  for (uint32_t seen; (seen = done_.load(std::memory_order_seq_cst)) != static_cast<uint32_t>(count);) sleep_on(done_, seen);
  waiting_.store(0, std::memory_order_relaxed);
}

}  // namespace halflap::cpu
