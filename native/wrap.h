/** What all objects share that JavaScript holds: type-safe unwrapping, arguments that are checked, errors with an errno. */
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

/** What each thread's copy of the addon has: the constructors of its classes. */
struct Instance {
  Napi::FunctionReference connectionId;
};

/** An error of the system: `errno` is a property of its own, positive. */
inline Napi::Error systemError(Napi::Env env, const char* call, int number) {
  if (number < 0) number = -number;
  Napi::Error error = Napi::Error::New(env, std::string(call) + ": " + std::strerror(number));
  error.Value().Set("errno", Napi::Number::New(env, number));
  error.Value().Set("call", Napi::String::New(env, call));
  return error;
}

inline Napi::Error closedError(Napi::Env env, const char* what) {
  return Napi::TypeError::New(env, std::string(what) + " is closed");
}

/** A whole number from `least` to `most`, or a TypeError. */
inline uint64_t wholeNumber(const Napi::CallbackInfo& info, size_t index, uint64_t most, uint64_t least = 0) {
  const double number = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= static_cast<double>(least)) || number > static_cast<double>(most) || number != std::floor(number))
    throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(index) + " is no whole number from " +
                                               std::to_string(least) + " to " + std::to_string(most));
  return static_cast<uint64_t>(number);
}

inline std::string text(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsString())
    throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(index) + " is no string");
  return info[index].As<Napi::String>().Utf8Value();
}

/** Bytes that JavaScript has given, at the time of a call: they may be gone at its next. */
struct Bytes {
  uint8_t* data;
  size_t length;
};

inline Bytes bytesOf(Napi::Env env, Napi::Value value) {
  if (value.IsTypedArray()) {
    Napi::TypedArray array = value.As<Napi::TypedArray>();
    // A detached one has length 0 and no data.
    auto* data = static_cast<uint8_t*>(array.ArrayBuffer().Data());
    if (data == nullptr) return {nullptr, 0};
    return {data + array.ByteOffset(), array.ByteLength()};
  }
  if (value.IsArrayBuffer()) {
    Napi::ArrayBuffer buffer = value.As<Napi::ArrayBuffer>();
    return {static_cast<uint8_t*>(buffer.Data()), buffer.ByteLength()};
  }
  throw Napi::TypeError::New(env, "an ArrayBuffer or a typed array is expected");
}

/** Records that JavaScript and the addon share: an ArrayBuffer that is looked at anew with each call, as it may be detached. */
class Records {
 public:
  Records(Napi::Env env, Napi::Value value) {
    if (!value.IsArrayBuffer()) throw Napi::TypeError::New(env, "the records are no ArrayBuffer");
    reference_ = Napi::Persistent(value.As<Napi::ArrayBuffer>());
  }
  /** The 32-bit words from the start, and how many there are. */
  uint32_t* words(size_t* count) {
    Napi::ArrayBuffer buffer = reference_.Value();
    *count = buffer.ByteLength() / 4;
    return static_cast<uint32_t*>(buffer.Data());
  }

 private:
  Napi::Reference<Napi::ArrayBuffer> reference_;
};

/** A class of JavaScript's whose objects are known for what they are, so that another object in its place is an error, no crash. */
template <typename T>
class Wrap : public Napi::ObjectWrap<T> {
 public:
  explicit Wrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<T>(info) {
    if (!info.IsConstructCall()) throw Napi::TypeError::New(info.Env(), "it is made by new");
    info.This().As<Napi::Object>().TypeTag(&T::TAG);
  }

  /** The T that a value is. */
  static T* from(Napi::Env env, Napi::Value value) {
    if (value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&T::TAG))
      return Napi::ObjectWrap<T>::Unwrap(value.As<Napi::Object>());
    throw Napi::TypeError::New(env, std::string("an object of the class ") + T::NAME + " is expected");
  }
};
