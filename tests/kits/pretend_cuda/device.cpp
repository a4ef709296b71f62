// A pretend CUDA device for a CPU-only build of torch: tensors say `cuda:N`, live in host memory, and every operator
// runs its CPU kernel. What a GPU refuses is refused (tensors of several devices in one operator, generators of the
// wrong device), and what makes a host wait is counted.
#include <torch/library.h>
#include <torch/csrc/utils/pybind.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/DispatchStub.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/set_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>

using at::Tensor;
using c10::Device;
using c10::DeviceIndex;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;

namespace {

constexpr int MOST = 16;
int devices = 2;
int64_t limit = int64_t{48} << 30;  // bytes of each device
thread_local DeviceIndex current = 0;
std::recursive_mutex lock_;
std::map<std::string, int64_t> syncs, launches;
int64_t copies_to = 0, copies_across = 0;
int64_t allocated[MOST] = {0}, peak[MOST] = {0};
py::object on_sync;  // called with the name of what waits
bool watch = false;
bool has_double = true;  // as on Apple's GPUs if not
bool refuses_waits = false;  // torch.cuda.set_sync_debug_mode("error")
struct Graph;
Graph* capturing = nullptr;
void refuse(const std::string& what);

void waits(const std::string& what) {
  std::lock_guard<std::recursive_mutex> g(lock_);
  ++syncs[what];
  refuse(what);
  if (watch && on_sync) {
    py::gil_scoped_acquire gil;
    on_sync(what);
  }
}

struct Held {
  c10::Storage storage;
  int device;
  int64_t bytes;
};

// The same memory as a storage of another device; counted: it is new memory of the pretend device.
c10::DataPtr pointer(const c10::Storage& of, Device device, bool counted) {
  auto* held = new Held{of, counted ? (int)device.index() : -1, (int64_t)of.nbytes()};
  if (counted) {
    std::lock_guard<std::recursive_mutex> g(lock_);
    if (allocated[held->device] + held->bytes > limit) {
      const auto bytes = held->bytes;
      delete held;
      TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", bytes, " bytes on ", device);
    }
    allocated[held->device] += held->bytes;
    peak[held->device] = std::max(peak[held->device], allocated[held->device]);
  }
  return c10::DataPtr(const_cast<void*>(of.data()), held, [](void* p) {
    auto* h = static_cast<Held*>(p);
    if (h->device >= 0) {
      std::lock_guard<std::recursive_mutex> g(lock_);
      allocated[h->device] -= h->bytes;
    }
    delete h;
  }, device);
}

Tensor made(c10::Storage storage, DispatchKey key, const Tensor& like) {
  auto out = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), DispatchKeySet(key), like.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  if (like.is_conj()) out._set_conj(true);
  if (like.is_neg()) out._set_neg(true);
  return out;
}

Tensor to_host(const Tensor& t) {
  auto s = c10::Storage(c10::Storage::use_byte_size_t(), t.storage().nbytes(),
                        pointer(t.storage(), Device(c10::kCPU), false), c10::GetCPUAllocator(), true);
  auto out = made(s, DispatchKey::CPU, t);
  if (t.unsafeGetTensorImpl()->is_wrapped_number()) out.unsafeGetTensorImpl()->set_wrapped_number(true);
  return out;
}

void made_inside(const Tensor& host);

Tensor to_device(const Tensor& t, Device device) {
  TORCH_CHECK_TYPE(has_double || t.scalar_type() != at::kDouble, "Cannot convert a tensor to float64: this device has no float64");
  auto s = c10::Storage(c10::Storage::use_byte_size_t(), t.storage().nbytes(), pointer(t.storage(), device, true),
                        nullptr, false);
  if (capturing) made_inside(t);
  return made(s, DispatchKey::CUDA, t);
}

// ---- CUDA graphs

// The host's memory inside a tensor of this device.
c10::Storage inside(const Tensor& t) {
  return static_cast<Held*>(t.storage().data_ptr().get_context())->storage;
}

// A tensor as a kernel was given it: where it lies, and how. Memory from before the capture is not kept alive.
struct Operand {
  Tensor constant;  // of the host: a number that was baked in
  c10::weak_intrusive_ptr<c10::StorageImpl> memory{c10::intrusive_ptr<c10::StorageImpl>()};
  std::vector<int64_t> sizes, strides;
  int64_t offset = 0;
  caffe2::TypeMeta dtype;
  bool conj = false, neg = false, number = false;

  Tensor now() const {
    if (constant.defined() || sizes.empty() && strides.empty() && offset < 0) return constant;
    auto there = memory.lock();
    TORCH_CHECK(there, "a CUDA graph was replayed that reads or writes memory which was freed since its capture");
    auto out = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(there), DispatchKeySet(DispatchKey::CPU), dtype);
    out.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, offset);
    if (conj) out._set_conj(true);
    if (neg) out._set_neg(true);
    if (number) out.unsafeGetTensorImpl()->set_wrapped_number(true);
    return out;
  }
};

Operand operand(const Tensor& t) {
  Operand out;
  if (!t.defined()) { out.offset = -1; return out; }
  if (!t.is_cuda()) {
    at::AutoDispatchBelowADInplaceOrView below;
    out.constant = t.clone();
    if (t.unsafeGetTensorImpl()->is_wrapped_number()) out.constant.unsafeGetTensorImpl()->set_wrapped_number(true);
    return out;
  }
  out.memory = c10::weak_intrusive_ptr<c10::StorageImpl>(inside(t).getWeakStorageImpl());
  out.sizes = t.sizes().vec(); out.strides = t.strides().vec(); out.offset = t.storage_offset();
  out.dtype = t.dtype(); out.conj = t.is_conj(); out.neg = t.is_neg();
  out.number = t.unsafeGetTensorImpl()->is_wrapped_number();
  return out;
}

struct Argument {
  IValue value;
  char kind = 'v';  // v: a value, t: a tensor, l: a list of them, o: of some that may be none
  std::vector<Operand> tensors;
  std::vector<bool> there;
};

struct Launch {
  std::optional<c10::OperatorHandle> op;  // none: a copy, from the second argument to the first
  std::vector<Argument> arguments;
  std::vector<std::pair<size_t, Tensor>> results;  // where what it newly makes lies
};

struct Pool {
  int device = 0;
  int64_t bytes = 0;
  std::set<Graph*> graphs;
};
std::map<int64_t, Pool> pools;

struct Graph {
  int64_t pool = 0;
  int device = 0;
  int64_t before = 0, peak_before = 0;
  bool broken = false;
  std::vector<Launch> launches;
  std::vector<Tensor> made;  // memory of the pool
  std::vector<std::pair<c10::Storage, std::string>> written;  // what lay there before: a capture computes nothing
};

void refuse(const std::string& what) {
  if (capturing && what != "event") {
    capturing->broken = true;
    TORCH_CHECK(false, "CUDA error: operation not permitted when stream is capturing (", what, ")");
  }
  TORCH_CHECK(!refuses_waits || what == "synchronize", "called a synchronizing CUDA operation (", what, ")");
}

void made_inside(const Tensor& host) { capturing->made.push_back(host); }

bool of_capture(const c10::Storage& storage) {
  for (auto& t : capturing->made) if (t.storage().unsafeGetStorageImpl() == storage.unsafeGetStorageImpl()) return true;
  return false;
}

void keep_as_it_is(const Tensor& t) {
  auto storage = inside(t);
  if (of_capture(storage)) return;
  for (auto& w : capturing->written) if (w.first.unsafeGetStorageImpl() == storage.unsafeGetStorageImpl()) return;
  capturing->written.emplace_back(storage, std::string((const char*)storage.data(), storage.nbytes()));
}

// What lies in memory of a pool is undefined before a graph has written it.
void undefine(Graph& g) {
  at::AutoDispatchBelowADInplaceOrView below;
  for (auto& t : g.made) {
    if (at::isFloatingType(t.scalar_type())) t.fill_(std::numeric_limits<double>::quiet_NaN());
    else t.zero_();
  }
}

int64_t begin_capture(int64_t pool) {
  TORCH_CHECK(!capturing, "a capture is under way");
  capturing = new Graph();
  capturing->pool = pool; capturing->device = current;
  capturing->before = allocated[current];
  capturing->peak_before = peak[current];
  peak[current] = allocated[current];
  return (int64_t)capturing;
}

void end_capture() {
  TORCH_CHECK(capturing, "no capture is under way");
  Graph* g = capturing;
  capturing = nullptr;
  for (auto& [storage, bytes] : g->written) std::memcpy(const_cast<void*>(storage.data()), bytes.data(), bytes.size());
  g->written.clear();
  undefine(*g);
  const int d = g->device;
  const int64_t most = peak[d] - g->before, alive = allocated[d] - g->before;
  peak[d] = std::max(peak[d], g->peak_before);
  auto& pool = pools[g->pool];
  pool.device = d;
  pool.graphs.insert(g);
  const int64_t more = std::max<int64_t>(0, most - alive - pool.bytes);
  pool.bytes += more; allocated[d] += more;
  TORCH_CHECK(!g->broken, "CUDA error: operation failed due to a previous error during capture");
}

void drop_graph(int64_t at) {
  auto* g = (Graph*)at;
  auto& pool = pools[g->pool];
  pool.graphs.erase(g);
  if (pool.graphs.empty()) { allocated[pool.device] -= pool.bytes; pools.erase(g->pool); }
  delete g;
}

void replay(int64_t at) {
  auto* g = (Graph*)at;
  TORCH_CHECK(!capturing, "a graph was replayed inside a capture");
  for (Graph* other : pools[g->pool].graphs) undefine(*other);
  { std::lock_guard<std::recursive_mutex> lock(lock_); ++launches["CUDA graph"]; }
  at::AutoDispatchBelowADInplaceOrView below;
  for (auto& launch : g->launches) {
    torch::jit::Stack stack;
    for (auto& a : launch.arguments) {
      if (a.kind == 'v') stack.push_back(a.value);
      else if (a.kind == 't') stack.push_back(IValue(a.tensors[0].now()));
      else if (a.kind == 'l') {
        c10::List<Tensor> list;
        for (auto& t : a.tensors) list.push_back(t.now());
        stack.push_back(IValue(list));
      } else {
        c10::List<std::optional<Tensor>> list;
        for (size_t i = 0; i < a.tensors.size(); ++i)
          list.push_back(a.there[i] ? std::optional<Tensor>(a.tensors[i].now()) : std::nullopt);
        stack.push_back(IValue(list));
      }
    }
    if (!launch.op) { Tensor to = stack[0].toTensor(); to.copy_(stack[1].toTensor()); continue; }
    launch.op->redispatchBoxed(DispatchKeySet(DispatchKey::CPU), &stack);
    std::vector<Tensor> out;
    for (auto& v : stack) {
      if (v.isTensor()) out.push_back(v.toTensor());
      else if (v.isTensorList()) for (const Tensor& t : v.toTensorVector()) out.push_back(t);
    }
    for (auto& [i, to] : launch.results) { Tensor t = to; t.copy_(out[i]); }
  }
}

// ---- generators

struct PretendGenerator : public c10::GeneratorImpl {
  at::Generator inner;
  explicit PretendGenerator(DeviceIndex i)
      : c10::GeneratorImpl(Device(c10::kCUDA, i), DispatchKeySet(DispatchKey::CUDA)), inner(at::detail::createCPUGenerator()) {
    set_current_seed(c10::default_rng_seed_val);
  }
  uint64_t seed_ = c10::default_rng_seed_val;
  void set_current_seed(uint64_t s) override { seed_ = s; inner.set_current_seed((s ^ 0x5bd1e995ULL) * 2654435761ULL + 12345); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override { set_current_seed(inner.seed()); return seed_; }
  void set_state(const c10::TensorImpl& s) override { inner.unsafeGetGeneratorImpl()->set_state(s); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner.unsafeGetGeneratorImpl()->get_state(); }
  GeneratorImpl* clone_impl() const override {
    auto* g = new PretendGenerator(device().index());
    g->seed_ = seed_; g->inner = inner.clone();
    return g;
  }
};

at::Generator& default_generator(DeviceIndex i) {
  static std::vector<at::Generator> all = [] {
    std::vector<at::Generator> v;
    for (int j = 0; j < MOST; ++j) v.push_back(at::make_generator<PretendGenerator>(j));
    return v;
  }();
  return all[i < 0 ? current : i];
}

struct PretendHooks : public at::CUDAHooksInterface {
  explicit PretendHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(DeviceIndex i) const override { return default_generator(i); }
  at::Generator getNewGenerator(DeviceIndex i) const override { return at::make_generator<PretendGenerator>(i < 0 ? current : i); }
  DeviceIndex deviceCount() const override { return devices; }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex i) const override { current = i; }
  DeviceIndex exchangeDevice(DeviceIndex i) const override { auto o = current; current = i; return o; }
  DeviceIndex maybeExchangeDevice(DeviceIndex i) const override { auto o = current; if (i >= 0) current = i; return o; }
  int getNumGPUs() const override { return devices; }
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  bool isPinnedPtr(const void*) const override { return false; }
  void deviceSynchronize(DeviceIndex) const override { waits("synchronize"); }
};

struct PretendGuard final : public c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  Device exchangeDevice(Device d) const override { auto o = current; if (d.index() >= 0) current = d.index(); return Device(c10::kCUDA, o); }
  Device getDevice() const override { return Device(c10::kCUDA, current); }
  void setDevice(Device d) const override { if (d.index() >= 0) current = d.index(); }
  void uncheckedSetDevice(Device d) const noexcept override { if (d.index() >= 0) current = d.index(); }
  c10::Stream getStream(Device d) const override { return c10::Stream(c10::Stream::DEFAULT, d); }
  c10::Stream exchangeStream(c10::Stream s) const override { return s; }
  DeviceIndex deviceCount() const noexcept override { return devices; }
  void synchronizeDevice(const DeviceIndex) const override { waits("synchronize"); }
};

// ---- making and viewing

Device full(std::optional<Device> d) {
  Device out = d.value_or(Device(c10::kCUDA, current));
  return out.index() < 0 ? Device(c10::kCUDA, current) : out;
}

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<Device> device,
             std::optional<bool>, std::optional<at::MemoryFormat> format) {
  auto d = full(device);
  TORCH_CHECK(d.index() < devices, "CUDA error: invalid device ordinal");
  Tensor host = at::detail::empty_cpu(C10_AS_INTARRAYREF_SLOW(size), dtype, std::nullopt, Device(c10::kCPU), std::nullopt, format);
  return to_device(host, d);
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<Device> device, std::optional<bool>) {
  Tensor host = at::detail::empty_strided_cpu(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), dtype, std::nullopt, Device(c10::kCPU), std::nullopt);
  return to_device(host, full(device));
}

Tensor& copy_(Tensor& self, const Tensor& src, bool non_blocking) {
  at::AutoDispatchBelowADInplaceOrView below;
  if (self.is_cpu() && src.is_cuda()) waits("copy to host");
  if (self.is_cuda() && src.is_cpu() && !non_blocking) {  // of pinned memory: no wait
    refuse("copy from the host");
    std::lock_guard<std::recursive_mutex> g(lock_); ++copies_to; }
  if (capturing) {
    keep_as_it_is(self);
    Launch launch;
    for (const Tensor* t : {&static_cast<const Tensor&>(self), &src}) {
      Argument a; a.kind = 't'; a.tensors.push_back(operand(*t));
      launch.arguments.push_back(std::move(a));
    }
    capturing->launches.push_back(std::move(launch));
  }
  if (self.is_cuda() && src.is_cuda() && self.device() != src.device()) ++copies_across;
  Tensor a = self.is_cuda() ? to_host(self) : self, b = src.is_cuda() ? to_host(src) : src;
  TORCH_CHECK(a.is_cpu() && b.is_cpu(), "copy_ between ", self.device(), " and ", src.device());
  a.copy_(b);
  return self;
}

at::Scalar local_scalar(const Tensor& self) {
  waits("item");
  return at::_local_scalar_dense(to_host(self));
}

Tensor& set_storage(Tensor& self, c10::Storage source, int64_t offset, at::IntArrayRef size, at::IntArrayRef stride) {
  return at::native::set_storage_cpu_(self, source, offset, size, stride);
}

Tensor& set_whole(Tensor& self, c10::Storage source) { return at::native::set_(self, source); }

// ---- all other operators

const std::set<std::string>& scalars_allowed() {  // operators that take 0-dim host tensors beside those of a GPU
  static const std::set<std::string> names{
      "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "eq", "ne", "lt", "le", "gt", "ge", "where", "maximum",
      "minimum", "pow", "pow_", "remainder", "fmod", "atan2", "copysign", "bitwise_and", "bitwise_or", "bitwise_xor",
      "bitwise_and_", "bitwise_or_", "bitwise_xor_", "logical_and", "logical_or", "logical_xor", "masked_fill",
      "masked_fill_", "fill_", "rsub", "floor_divide", "floor_divide_", "xlogy", "heaviside", "hypot", "logaddexp",
      "__rshift__", "__lshift__", "bitwise_right_shift", "bitwise_left_shift", "lerp", "lerp_", "addcmul", "addcmul_",
      "addcdiv", "addcdiv_", "eq_", "ne_", "lt_", "le_", "gt_", "ge_"};
  return names;
}
const std::set<std::string>& indexing() {
  static const std::set<std::string> names{"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"};
  return names;
}
const std::set<std::string>& waiting() {
  static const std::set<std::string> names{"nonzero", "masked_select", "equal", "_unique", "_unique2", "unique_dim",
      "unique_consecutive", "bincount", "repeat_interleave", "linalg_eigh", "_linalg_eigh", "_linalg_svd",
      "_linalg_check_errors", "multinomial"};
  return names;
}

void fallback(const c10::OperatorHandle& op, DispatchKeySet, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  std::string name = schema.name().substr(schema.name().find("::") + 2);
  const auto n = schema.arguments().size();
  const auto begin = stack->size() - n;
  std::optional<Device> device;
  std::vector<std::pair<Tensor, Tensor>> moved;  // (theirs, host's)
  auto host = [&](const Tensor& t) {
    if (!t.defined() || !t.is_cuda()) return t;
    for (auto& m : moved) if (m.first.is_same(t)) return m.second;
    Tensor h = to_host(t);
    moved.emplace_back(t, h);
    return h;
  };
  auto each = [&](auto&& f) {
    for (size_t i = 0; i < n; ++i) {
      auto& v = (*stack)[begin + i];
      if (v.isTensor()) { f(v.toTensor(), i); }
      else if (v.isTensorList()) { for (const Tensor& t : v.toTensorVector()) f(t, i); }
      else if (v.isOptionalTensorList()) { for (const std::optional<Tensor>& t : v.toOptionalTensorList().vec()) if (t) f(*t, i); }
    }
  };
  each([&](const Tensor& t, size_t i) {
    if (t.defined() && t.is_cuda()) {
      if (!device) device = t.device();
      else
        TORCH_CHECK(t.device() == *device, "Expected all tensors to be on the same device, but found at least two devices, ", *device, " and ", t.device(), "! (in aten::", name, ")");
    }
  });
  each([&](const Tensor& t, size_t i) {
    if (!t.defined() || t.is_cuda() || t.is_meta()) return;
    const bool written = schema.arguments()[i].alias_info() && schema.arguments()[i].alias_info()->isWrite();
    if (t.dim() == 0 && !written && (scalars_allowed().count(name) || t.unsafeGetTensorImpl()->is_wrapped_number())) return;
    if (indexing().count(name) && i == 1 && (*stack)[begin].toTensor().is_cuda()) { refuse("copy from the host"); ++copies_to; return; }
    TORCH_CHECK(!device, "Expected all tensors to be on the same device, but found at least two devices, ", *device, " and cpu! (argument ", i, " of aten::", name, ")");
  });
  if (waiting().count(name)) waits(name);
  if (indexing().count(name))
    each([&](const Tensor& t, size_t i) { if (i == 1 && t.defined() && (t.scalar_type() == at::kBool || t.scalar_type() == at::kByte)) waits(name + " by a mask"); });
  { std::lock_guard<std::recursive_mutex> g(lock_); ++launches[name]; }
  Launch noted;
  if (capturing) {
    noted.op = op;
    each([&](const Tensor& t, size_t i) {
      const auto* alias = schema.arguments()[i].alias_info();
      if (t.defined() && t.is_cuda() && alias && alias->isWrite()) keep_as_it_is(t);
    });
  }
  std::vector<Tensor> originals(n);
  for (size_t i = 0; i < n; ++i) {
    auto& v = (*stack)[begin + i];
    Argument argument;
    if (capturing && v.isTensor()) { argument.kind = 't'; argument.tensors.push_back(operand(v.toTensor())); }
    if (capturing && v.isTensorList()) {
      argument.kind = 'l';
      for (const Tensor& t : v.toTensorVector()) argument.tensors.push_back(operand(t));
    }
    if (capturing && v.isOptionalTensorList()) {
      argument.kind = 'o';
      for (const std::optional<Tensor>& t : v.toOptionalTensorList().vec()) {
        argument.there.push_back(t.has_value());
        argument.tensors.push_back(t ? operand(*t) : Operand());
      }
    }
    if (v.isTensor()) { originals[i] = v.toTensor(); v = IValue(host(v.toTensor())); }
    else if (v.isTensorList()) {
      std::vector<Tensor> out;
      for (const Tensor& t : v.toTensorVector()) out.push_back(host(t));
      v = IValue(c10::List<Tensor>(out));
    } else if (v.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> out;
      for (const std::optional<Tensor>& t : v.toOptionalTensorList().vec()) out.push_back(t ? std::optional<Tensor>(host(*t)) : t);
      v = IValue(out);
    } else if (v.isDevice() && v.toDevice().is_cuda()) {
      if (!device) device = full(v.toDevice());
      v = IValue(Device(c10::kCPU));
    } else if (v.isGenerator() && v.toGenerator().defined()) {
      auto g = v.toGenerator();
      TORCH_CHECK(g.device().is_cuda(), "Expected a 'cuda' device type for generator but found 'cpu'");
      if (device) TORCH_CHECK(g.device() == *device, "Expected generator of ", *device, ", found one of ", g.device());
      v = IValue(static_cast<PretendGenerator*>(g.unsafeGetGeneratorImpl())->inner);
    } else if (v.isNone() && schema.arguments()[i].name() == "generator") {
      v = IValue(static_cast<PretendGenerator*>(default_generator(device ? device->index() : current).unsafeGetGeneratorImpl())->inner);
    }
    if (capturing) {
      if (argument.kind == 'v') argument.value = v;
      noted.arguments.push_back(std::move(argument));
    }
  }
  if (!device) device = Device(c10::kCUDA, current);
  std::vector<const void*> before;
  for (auto& m : moved) before.push_back(m.second.storage().data());
  op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  for (size_t k = 0; k < moved.size(); ++k) {  // out= may have grown
    auto& [theirs, h] = moved[k];
    if (h.storage().data() != before[k]) {
      auto* impl = theirs.storage().unsafeGetStorageImpl();
      impl->set_data_ptr_noswap(pointer(h.storage(), theirs.device(), true));
      impl->set_nbytes(h.storage().nbytes());
    }
    if (h.sizes() != theirs.sizes() || h.strides() != theirs.strides())
      theirs.unsafeGetTensorImpl()->set_sizes_and_strides(h.sizes(), h.strides(), h.storage_offset());
  }
  size_t number = 0;  // of the tensors that come back
  auto back = [&](const Tensor& t) -> Tensor {
    const size_t number_of_this = number++;
    if (!t.defined() || !t.is_cpu()) return t;
    for (auto& m : moved) if (m.second.is_same(t)) return m.first;
    for (auto& m : moved)
      if (m.second.storage().data() == t.storage().data() && t.storage().data() != nullptr)
        return made(m.first.storage(), DispatchKey::CUDA, t);
    if (capturing) noted.results.emplace_back(number_of_this, t);
    return to_device(t, *device);
  };
  const auto returns = schema.returns().size();
  const auto rbegin = stack->size() - returns;
  for (size_t i = 0; i < returns; ++i) {
    auto& v = (*stack)[rbegin + i];
    if (v.isTensor()) {
      v = IValue(back(v.toTensor()));
    } else if (v.isTensorList()) {
      std::vector<Tensor> out;
      for (const Tensor& t : v.toTensorVector()) out.push_back(back(t));
      v = IValue(c10::List<Tensor>(out));
    }
  }
  if (capturing) capturing->launches.push_back(std::move(noted));
}

int64_t choice(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, double, bool, std::optional<double>, bool) {
  return 0;  // math
}
}  // namespace

namespace at { using ::PretendHooks; C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, PretendHooks) }
namespace at::native { REGISTER_CUDA_DISPATCH(_fused_sdp_choice_stub, &choice) }
C10_REGISTER_GUARD_IMPL(CUDA, PretendGuard)

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  for (const char* name : {"_foreach_mul.Scalar", "_foreach_mul.Tensor", "_foreach_add.List", "_foreach_add_.List", "_foreach_copy_"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());  // kernels of their own there, one launch each
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy_);
  m.impl("_local_scalar_dense", local_scalar);
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("unfold", TORCH_FN(at::native::unfold));
  m.impl("set_.source_Storage_storage_offset", set_storage);
  m.impl("set_.source_Storage", set_whole);
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("counts", [] {
    py::dict out;
    out["syncs"] = syncs; out["launches"] = launches; out["copies_to"] = copies_to; out["copies_across"] = copies_across;
    return out;
  });
  m.def("clear", [] { syncs.clear(); launches.clear(); copies_to = copies_across = 0; });
  m.def("allocated", [](int i) { return allocated[i]; });
  m.def("peak", [](int i) { return peak[i]; });
  m.def("reset_peak", [](int i) { peak[i] = allocated[i]; });
  m.def("configure", [](int n, int64_t bytes) { devices = n; limit = bytes; });
  m.def("has_float64", [](bool has) { has_double = has; });
  m.def("refuse_waits", [](bool refuses) { refuses_waits = refuses; });
  m.def("capturing", [] { return capturing != nullptr; });
  m.def("begin_capture", begin_capture);
  m.def("end_capture", end_capture);
  m.def("replay", replay);
  m.def("drop_graph", drop_graph);
  m.def("current", [] { return (int)current; });
  m.def("set_current", [](int i) { current = i; });
  m.def("manual_seed", [](uint64_t s) { for (int i = 0; i < MOST; ++i) default_generator(i).set_current_seed(s); });
  m.def("default_generator", [](int i) { return default_generator(i); });
  m.def("on_sync", [](py::object f) { on_sync = f; watch = !f.is_none(); });
}
