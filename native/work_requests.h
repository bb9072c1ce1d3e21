/**
 * Work requests, made from the records that JavaScript has filled in. Words of 32 bits; what has 64 is the low word, then the
 * high one. A record ends with the most scatter/gather entries that its queue takes: address (2), length, local key.
 */
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <vector>

#include "library.h"
#include "wrap.h"

constexpr uint32_t MAX_SGES = 64;
/** Requests of one call. */
constexpr size_t MAX_POSTED = 65535;
constexpr size_t SGE_WORDS = 4;
/** Work request's number (2), entries, and one to spare. */
constexpr size_t RECEIVE_WORDS = 4;
/** See {@link SendWord}. */
constexpr size_t SEND_WORDS = 20;

/** Which word of a send request's record is what. */
enum SendWord : size_t {
  OPCODE,
  FLAGS,
  NUMBER,
  REMOTE_ADDRESS = 4,
  REMOTE_KEY = 6,
  /** Immediate data, or the key to invalidate. */
  DATUM,
  COMPARE,
  OPERAND = 10,
  SGES = 12,
  /** Of ibv_access_flags. */
  BIND_ACCESS,
  /** Which of the pairs of objects that are given along. */
  BINDING,
  BIND_KEY,
  BIND_ADDRESS,
  BIND_LENGTH = 18,
};

inline uint64_t word64(const uint32_t* words) { return words[0] | static_cast<uint64_t>(words[1]) << 32; }

inline void readSges(const uint32_t* words, uint32_t count, ibv_sge* sges) {
  for (uint32_t i = 0; i < count; i++, words += SGE_WORDS) {
    sges[i].addr = word64(words);
    sges[i].length = words[2];
    sges[i].lkey = words[3];
  }
}

/** What a call that posts tells JavaScript: requests that were posted, and the errno of the one behind, if there is one. */
inline Napi::Value posted(Napi::Env env, uint32_t count, int error) {
  // Both are small: one number, so that no object is made.
  return Napi::Number::New(env, static_cast<double>(count) + (error < 0 ? -error : error) * 65536.0);
}

/** How many of the chain were posted; `bad` is the first that was not. rdma_rxe leaves it null when the device takes no requests now. */
template <typename Request>
uint32_t countPosted(const std::vector<Request>& chain, const Request* bad, int error) {
  if (error == 0) return static_cast<uint32_t>(chain.size());
  return bad == nullptr ? 0 : static_cast<uint32_t>(bad - chain.data());
}

/** A chain of receives; its memory is used again by each call. */
class ReceiveChain {
 public:
  /** Post what is in the records; argument 0 says how many there are. */
  template <typename Post>
  Napi::Value post(const Napi::CallbackInfo& info, Records& records, uint32_t maxSges, Post&& call) {
    size_t have = 0;
    const uint32_t* record = records.words(&have);
    const size_t words = RECEIVE_WORDS + SGE_WORDS * maxSges;
    const size_t count = wholeNumber(info, 0, std::min<size_t>(have / words, MAX_POSTED));
    if (count == 0) return posted(info.Env(), 0, 0);
    requests_.resize(count);
    sges_.resize(count * maxSges);
    ibv_sge* sge = sges_.data();
    for (size_t i = 0; i < count; i++, record += words, sge += maxSges) {
      if (record[2] > maxSges) throw Napi::RangeError::New(info.Env(), "a receive has too many scatter entries");
      readSges(record + RECEIVE_WORDS, record[2], sge);
      ibv_recv_wr& request = requests_[i];
      request = {};
      request.wr_id = word64(record);
      request.sg_list = sge;
      request.num_sge = static_cast<int>(record[2]);
      request.next = i + 1 < count ? &requests_[i + 1] : nullptr;
    }
    ibv_recv_wr* bad = requests_.data();
    const int error = call(requests_.data(), &bad);
    return posted(info.Env(), countPosted(requests_, bad, error), error);
  }

 private:
  std::vector<ibv_recv_wr> requests_;
  std::vector<ibv_sge> sges_;
};
