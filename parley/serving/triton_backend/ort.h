/* What the backend uses of ONNX Runtime's C interface, declared by hand because the wheel that carries the library
 * carries no headers. The interface is a table of functions to which new ones are only ever appended, so each has the
 * same place in every version.
 *
 * Source: https://github.com/microsoft/onnxruntime, include/onnxruntime/core/session/onnxruntime_c_api.h. */
#ifndef PARLEY_ORT_H
#define PARLEY_ORT_H

#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus; /* NULL is success */
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtArenaCfg OrtArenaCfg;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorInfo OrtTensorInfo; /* OrtTensorTypeAndShapeInfo */

enum { ORT_API = 17 }; /* newest function used; any later library has them all */
enum { ORT_LOG_ERROR = 3 };
enum { ORT_ARENA_ALLOCATOR = 1, ORT_MEMORY_DEFAULT = 0 };
enum { /* types of tensors */
    ORT_FLOAT = 1,
    ORT_UINT8 = 2,
    ORT_INT8 = 3,
    ORT_INT16 = 5,
    ORT_INT32 = 6,
    ORT_INT64 = 7,
    ORT_BOOL = 9,
    ORT_FLOAT16 = 10
};

/* X(place in the table, result, name, arguments) */
#define ORT_FUNCTIONS(X)                                                                                              \
    X(2, const char *, GetErrorMessage, (const OrtStatus *))                                                          \
    X(3, OrtStatus *, CreateEnv, (int level, const char *name, OrtEnv **))                                            \
    X(8, OrtStatus *, CreateSessionFromArray,                                                                         \
      (const OrtEnv *, const void *graph, size_t bytes, const OrtSessionOptions *, OrtSession **))                    \
    X(9, OrtStatus *, Run,                                                                                            \
      (OrtSession *, const void *run_options, const char *const *input_names, const OrtValue *const *inputs,          \
       size_t input_count, const char *const *output_names, size_t output_count, OrtValue **outputs))                 \
    X(10, OrtStatus *, CreateSessionOptions, (OrtSessionOptions **))                                                  \
    X(24, OrtStatus *, SetIntraOpNumThreads, (OrtSessionOptions *, int))                                              \
    X(25, OrtStatus *, SetInterOpNumThreads, (OrtSessionOptions *, int))                                              \
    X(30, OrtStatus *, SessionGetInputCount, (const OrtSession *, size_t *))                                          \
    X(31, OrtStatus *, SessionGetOutputCount, (const OrtSession *, size_t *))                                         \
    X(33, OrtStatus *, SessionGetInputTypeInfo, (const OrtSession *, size_t index, OrtTypeInfo **))                   \
    X(34, OrtStatus *, SessionGetOutputTypeInfo, (const OrtSession *, size_t index, OrtTypeInfo **))                  \
    X(36, OrtStatus *, SessionGetInputName, (const OrtSession *, size_t index, OrtAllocator *, char **))              \
    X(37, OrtStatus *, SessionGetOutputName, (const OrtSession *, size_t index, OrtAllocator *, char **))             \
    X(49, OrtStatus *, CreateTensorWithDataAsOrtValue,                                                                \
      (const OrtMemoryInfo *, void *data, size_t bytes, const int64_t *shape, size_t rank, int type, OrtValue **))    \
    X(51, OrtStatus *, GetTensorMutableData, (OrtValue *, void **))                                                   \
    X(55, OrtStatus *, CastTypeInfoToTensorInfo, (const OrtTypeInfo *, const OrtTensorInfo **))                       \
    X(60, OrtStatus *, GetTensorElementType, (const OrtTensorInfo *, int *type))                                      \
    X(61, OrtStatus *, GetDimensionsCount, (const OrtTensorInfo *, size_t *))                                         \
    X(62, OrtStatus *, GetDimensions, (const OrtTensorInfo *, int64_t *shape, size_t rank))                           \
    X(65, OrtStatus *, GetTensorTypeAndShape, (const OrtValue *, OrtTensorInfo **))                                   \
    X(69, OrtStatus *, CreateCpuMemoryInfo, (int allocator, int memory, OrtMemoryInfo **))                            \
    X(76, OrtStatus *, AllocatorFree, (OrtAllocator *, void *))                                                       \
    X(78, OrtStatus *, GetAllocatorWithDefaultOptions, (OrtAllocator **))                                             \
    X(92, void, ReleaseEnv, (OrtEnv *))                                                                               \
    X(93, void, ReleaseStatus, (OrtStatus *))                                                                         \
    X(94, void, ReleaseMemoryInfo, (OrtMemoryInfo *))                                                                 \
    X(95, void, ReleaseSession, (OrtSession *))                                                                       \
    X(96, void, ReleaseValue, (OrtValue *))                                                                           \
    X(98, void, ReleaseTypeInfo, (OrtTypeInfo *))                                                                     \
    X(99, void, ReleaseTensorTypeAndShapeInfo, (OrtTensorInfo *))                                                     \
    X(100, void, ReleaseSessionOptions, (OrtSessionOptions *))                                                        \
    X(130, OrtStatus *, AddSessionConfigEntry, (OrtSessionOptions *, const char *key, const char *value))             \
    X(144, OrtStatus *, CreateAndRegisterAllocator, (OrtEnv *, const OrtMemoryInfo *, const OrtArenaCfg *))           \
    X(156, OrtStatus *, CreateArenaCfg,                                                                               \
      (size_t most_bytes, int strategy, int first_bytes, int dead_bytes, OrtArenaCfg **))                             \
    X(157, void, ReleaseArenaCfg, (OrtArenaCfg *))

typedef struct {
#define MEMBER(place, result, name, arguments) result(*name) arguments;
    ORT_FUNCTIONS(MEMBER)
#undef MEMBER
} Ort;

typedef struct {
    const void *const *(*GetApi)(uint32_t version); /* the table; NULL for a library older than `version` */
    const char *(*GetVersionString)(void);
} OrtApiBase;

#endif
