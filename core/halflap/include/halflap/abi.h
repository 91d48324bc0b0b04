/* Halflap's device ABI: the one header a native backend needs. docs/abi.md explains it, docs/write-a-backend.md uses it.
 *
 * A backend is a shared library that exports one symbol, `halflap_backend`. It returns a table of functions. Rules:
 * - Structs begin with struct_size, set by whoever fills them, and only ever grow at their end. Step through arrays of
 *   structs with HL_AT, which uses the element's own size. Read no field beyond struct_size.
 * - Every function that can fail returns an HL_ status and fills `error`. Nothing throws, aborts or exits across this line.
 * - Ops, attributes, types and features are named by text. An op, version or attribute that is unknown is unsupported.
 * - Sizes are int64_t, ids int32_t, tensors dense, row-major. Strings carry their length and need no final zero.
 * - Pointers handed in are valid for the call only, except the bytes of weights: those stay until weights_close.
 * - One thread at a time per device; fence_* , device_info and fence_cancel from any thread.
 * - After fork every function fails with HL_FORKED.
 */
#ifndef HALFLAP_ABI_H
#define HALFLAP_ABI_H

#include <stdint.h>

#define HALFLAP_ABI_MAJOR 1
#define HALFLAP_ABI_MINOR 0

#define HL_AT(array, i) ((const void *)((const char *)(array) + (i) * (array)->struct_size))

#ifdef __cplusplus
extern "C" {
#endif

/* -- status ------------------------------------------------------------------------------------------------------- */

enum {
  HL_OK = 0,
  HL_INVALID = 1,       /* the caller broke a rule of this header */
  HL_UNSUPPORTED = 2,   /* an op, type, attribute or size that this device lacks */
  HL_OUT_OF_MEMORY = 3, /* error->wanted and error->free say how much */
  HL_DEVICE_LOST = 4,   /* sticky: every later call on the device fails so too */
  HL_CANCELLED = 5,
  HL_TIMEOUT = 6,       /* fence_wait only: not done yet */
  HL_FORKED = 7,
  HL_INTERNAL = 8
};

typedef struct hl_error {
  int64_t struct_size;
  int64_t wanted; /* bytes */
  int64_t free;   /* bytes */
  int32_t status;
  int32_t reserved;
  char text[504]; /* "what: got X, want Y", zero-terminated */
} hl_error;

typedef struct hl_str {
  const char *data;
  int64_t size;
} hl_str;

/* -- graph: flat arrays, indices into `values` --------------------------------------------------------------------- */

enum { HL_INPUT = 0, HL_WEIGHT = 1, HL_RESULT = 2 };
enum { HL_DIM_T = -1, HL_DIM_S = -2, HL_DIM_R = -3 }; /* free sizes: tokens, sequences, wanted rows */
enum { HL_MAX_DIMS = 4 };

typedef struct hl_value {
  int64_t struct_size;
  hl_str name;
  hl_str dtype; /* "f32", "i32", or a weight's storage type such as "Q4_K" */
  int64_t dims[4];
  int32_t n_dims;
  int32_t kind;
} hl_value;

enum { HL_ATTR_INT = 0, HL_ATTR_FLOAT = 1, HL_ATTR_STRING = 2, HL_ATTR_FLOATS = 3 };

typedef struct hl_attr {
  int64_t struct_size;
  hl_str name;
  hl_str string;
  int64_t integer; /* booleans too */
  double number;
  const double *numbers;
  int64_t n_numbers;
  int32_t type;
  int32_t reserved;
} hl_attr;

typedef struct hl_node {
  int64_t struct_size;
  hl_str op;
  const int32_t *inputs; /* (n_inputs,) value indices; -1: optional input that is absent */
  const int32_t *outputs;
  const hl_attr *attrs;
  int32_t n_inputs;
  int32_t n_outputs;
  int32_t n_attrs;
  int32_t version;
} hl_node;

typedef struct hl_layer {
  int64_t struct_size;
  int64_t k_width; /* elements of one token's K row; of a slots group: f32 kept per sequence, and v_width is 0 */
  int64_t v_width;
} hl_layer;

enum { HL_BLOCKS = 0, HL_SLOTS = 1 }; /* state of every token, or a fixed number of f32 per sequence */

typedef struct hl_group {
  int64_t struct_size;
  hl_str name;
  const hl_layer *layers;
  int64_t n_layers;
  int64_t window; /* 0: every token is kept */
  int64_t blocks; /* KV blocks in the pool, each of lcm(32, rate) tokens; ids 0 to blocks-1 */
  int64_t slots;  /* HL_SLOTS: slots in the pool; ids 0 to slots-1 */
  int32_t kind;
  int32_t rate;   /* HL_BLOCKS: tokens that one row stands for; it is written with the last of them. 0 means 1 */
} hl_group;

typedef struct hl_graph {
  int64_t struct_size;
  hl_str name;
  const hl_value *values;
  const hl_node *nodes;
  const hl_group *groups;
  const int32_t *outputs; /* values that may be fetched */
  int64_t n_values;
  int64_t n_nodes;
  int64_t n_groups;
  int64_t n_outputs;
} hl_graph;

typedef struct hl_limits {
  int64_t struct_size;
  int64_t tokens;    /* most T of a step */
  int64_t sequences; /* most S */
  int64_t rows;      /* most R */
  int64_t context;   /* most tokens of one sequence */
  int64_t in_flight; /* steps that may be under way at once */
  hl_str k_type;     /* storage of K rows: "f32", "f16", ... */
  hl_str v_type;
} hl_limits;

/* -- one step ------------------------------------------------------------------------------------------------------- */

typedef struct hl_group_step {
  int64_t struct_size;
  const int32_t *table_start; /* (S+1) slice of `blocks` per sequence */
  const int32_t *blocks;      /* block ids in token order */
  const int32_t *first_token; /* (S) position of the first token in the first listed block; a multiple of lcm(32, rate) */
  const int32_t *length;      /* (S) tokens of each sequence after this step */
  int64_t n_blocks;
  /* HL_SLOTS only, where the five above are NULL and 0. A slot is written once in a step, and read by nobody but the
   * sequence that writes it; slot_in may equal slot_out. */
  const int32_t *slot_in;  /* (S) state before the step; -1 reads as zero */
  const int32_t *slot_out; /* (S) state after it */
  const int32_t *emit;     /* (n_emit, 2) token of the step, ascending, and slot: the state after it goes there too */
  int64_t n_emit;
} hl_group_step;

typedef struct hl_copy {
  int64_t struct_size;
  int32_t group;
  int32_t source;
  int32_t target;
  int32_t reserved;
} hl_copy;

typedef struct hl_step {
  int64_t struct_size;
  int64_t n_tokens;
  int64_t n_sequences;
  int64_t n_rows;
  int64_t n_positions;          /* axes of `position`: 1 but for multi-axis rope */
  const int32_t *ids;           /* (T) token ids */
  const int32_t *index;         /* (T) place in the sequence, ascending within it: addressing and masks */
  const int32_t *position;      /* (n_positions, T) rotary positions */
  const int32_t *seq_start;     /* (S+1) slice of the tokens per sequence */
  const int32_t *rows;          /* (R) tokens whose result is wanted */
  const hl_group_step *groups;  /* (n_groups) in the order of state_new's groups, which is that of the graph's */
  const hl_copy *copies;        /* block copies, done first */
  int64_t n_groups;
  int64_t n_copies;
  const int32_t *span_end;      /* (T) place after the last one of each token's span, 0: none; or NULL: no spans */
} hl_step;

/* -- devices --------------------------------------------------------------------------------------------------------- */

typedef struct hl_backend_device hl_device;
typedef struct hl_backend_weights hl_weights;
typedef struct hl_backend_state hl_state;
typedef struct hl_backend_executable hl_executable;
typedef struct hl_backend_fence hl_fence;

typedef struct hl_option {
  int64_t struct_size;
  hl_str key;
  hl_str value;
} hl_option;

typedef struct hl_rounding {
  int64_t struct_size;
  hl_str type;     /* a weight's storage type */
  hl_str rounding; /* of the activations that meet it: "none", "f16", "bf16", "i8x256" */
} hl_rounding;

typedef struct hl_device_info {
  int64_t struct_size;
  hl_str id;       /* "cpu", "acme:0"; these strings and arrays live as long as the device */
  hl_str about;    /* hardware, instruction set, driver: one line for people */
  hl_str features; /* words separated by spaces, such as "row_invariant" */
  const hl_rounding *roundings;
  int64_t n_roundings;
  int64_t memory_free; /* bytes, probed by this call */
  int64_t memory_total;
  int64_t largest_allocation;
  int64_t allocated; /* bytes now held through the backend's own allocator */
  int64_t threads;   /* threads now running for this device, besides the caller's */
} hl_device_info;

typedef struct hl_memory_report {
  int64_t struct_size;
  int64_t weights_in_place; /* bytes used where the file is mapped */
  int64_t weights_packed;   /* bytes of converted copies */
  int64_t state;
  int64_t scratch;
} hl_memory_report;

typedef struct hl_weight {
  int64_t struct_size;
  hl_str name;
  hl_str dtype;
  int64_t dims[4]; /* row-major: (n_out, n_in) for a linear weight */
  const void *data;
  int64_t n_bytes;
  int32_t n_dims;
  int32_t reserved;
} hl_weight;

typedef struct hl_tensor {
  int64_t struct_size;
  void *data; /* host memory: read for inputs, written for fetches */
  int64_t n_bytes;
  int32_t value; /* index into the graph's values */
  int32_t reserved;
} hl_tensor;

typedef struct hl_run {
  int64_t struct_size;
  const hl_step *step;
  const hl_tensor *inputs; /* graph inputs other than "ids" and "rows", which come from the step */
  const hl_tensor *fetches;
  int64_t n_inputs;
  int64_t n_fetches;
  int32_t wait; /* not 0: return when done, so that a step is one call */
  int32_t reserved;
} hl_run;

typedef struct hl_backend_api {
  int64_t struct_size;
  int32_t abi_major;
  int32_t abi_minor;
  int32_t needs_minor; /* the host's minor must be at least this */
  int32_t reserved;
  hl_str name;

  /* NULL, or the table of an extension that this header does not know. */
  const void *(*get_extension)(hl_str name);

  int32_t (*device_count)(int64_t *count, hl_error *error);
  int32_t (*device_open)(int64_t index, const hl_option *options, int64_t n_options, hl_device **device, hl_error *error);
  void (*device_close)(hl_device *device);
  int32_t (*device_info)(hl_device *device, hl_device_info *info, hl_error *error);

  /* HL_OK, or HL_UNSUPPORTED with the reason in error->text. */
  int32_t (*supports)(hl_device *device, const hl_graph *graph, int64_t node, hl_error *error);
  /* Exact bytes; allocates nothing on the device. */
  int32_t (*estimate)(hl_device *device, const hl_graph *graph, const hl_limits *limits, hl_memory_report *report,
                      hl_error *error);

  int32_t (*weights_pack)(hl_device *device, const hl_graph *graph, const hl_weight *weights, int64_t n_weights,
                          hl_weights **packed, hl_error *error);
  void (*weights_close)(hl_weights *weights);

  int32_t (*state_new)(hl_device *device, const hl_group *groups, int64_t n_groups, const hl_limits *limits,
                       hl_state **state, hl_error *error);
  /* rows: (lcm(32, rate) / rate, k_width + v_width) f32, K first, after rope; of a slots group (k_width), and `block` is a slot. */
  int32_t (*state_export)(hl_state *state, int32_t group, int32_t layer, int32_t block, float *rows, hl_error *error);
  int32_t (*state_import)(hl_state *state, int32_t group, int32_t layer, int32_t block, const float *rows,
                          hl_error *error);
  void (*state_close)(hl_state *state);

  /* weights and state must outlive the executable. */
  int32_t (*compile)(hl_device *device, const hl_graph *graph, hl_weights *weights, hl_state *state,
                     const hl_limits *limits, hl_executable **executable, hl_error *error);
  void (*executable_close)(hl_executable *executable);

  /* The step and inputs are read before this returns; fetches are written before the fence is done. A backend may
   * compute before it returns, also with wait = 0; fence_cancel then finds nothing left to stop. */
  int32_t (*run)(hl_executable *executable, const hl_run *run, hl_fence **fence, hl_error *error);
  int32_t (*fence_done)(hl_fence *fence);
  int32_t (*fence_wait)(hl_fence *fence, int64_t timeout_ns, hl_error *error); /* timeout < 0: for ever */
  void (*fence_cancel)(hl_fence *fence);
  void (*fence_close)(hl_fence *fence);
} hl_backend_api;

/* -- extension "candidates": few tokens of each row of logits, instead of all of them ------------------------------- */

/* Asks about rows of logits in host memory; only the last five are written. In each ask a logit l becomes, edit by edit
 * in their order, y = l + bias; y = y > 0 ? y / repeat : y * repeat; l' = y + offset. Then the mask makes what it does not
 * allow -infinity. Of the result the highest are told, descending, of equal ones the lower id first. Of a row with a NaN
 * nothing is told but their number: found is 0. */
typedef struct hl_candidates {
  int64_t struct_size;
  const float *logits; /* (n_rows, vocab) */
  int64_t n_rows;
  int64_t vocab;
  int64_t n_asks;
  int64_t width;               /* most that any ask wants */
  const int32_t *row;          /* (n_asks) the row that each is about; several may be about the same */
  const int32_t *count;        /* (n_asks) how many are wanted, 1 to width and to vocab */
  const float *temperature;    /* (n_asks) of the second sum; 0: no sums are wanted */
  const uint8_t *const *masks; /* (n_asks) bit i % 8 of byte i / 8: token i is allowed; each, or all: NULL */
  const int32_t *edit_start;   /* (n_asks+1) slice of the edits per ask */
  const int32_t *edit_id;
  const float *edit_bias;
  const float *edit_repeat;
  const float *edit_offset;
  int32_t *ids;       /* (n_asks, width) */
  float *values;      /* (n_asks, width) their logits */
  int32_t *found;     /* (n_asks) how many */
  double *log_sums;   /* (n_asks, 2) log of the sum of exp(l) over the row, and of exp(l / temperature), to 1e-5 */
  int64_t *nans;      /* (n_asks) how many edited logits of the row are NaN, allowed or not */
} hl_candidates;

/* What get_extension("candidates") returns. */
typedef struct hl_candidates_api {
  int64_t struct_size;
  int32_t (*candidates)(hl_device *device, const hl_candidates *asks, hl_error *error);
} hl_candidates_api;

typedef struct hl_host {
  int64_t struct_size;
  int32_t abi_major;
  int32_t abi_minor;
} hl_host;

/* The one exported symbol. NULL with `error` filled if this host cannot be served. */
const hl_backend_api *halflap_backend(const hl_host *host, hl_error *error);

#ifdef __cplusplus
}
#endif
#endif
