/* What the backend uses of Triton's C interface (TRITONBACKEND API 1.19 and later 1.x), declared by hand because the
 * wheel that carries the server carries no headers. The server exports these functions; nothing is linked.
 *
 * Source: https://github.com/triton-inference-server/core, include/triton/core/tritonbackend.h and tritonserver.h. */
#ifndef PARLEY_TRITON_H
#define PARLEY_TRITON_H

#include <stdbool.h>
#include <stdint.h>

typedef struct TRITONSERVER_Error Error; /* NULL is success; who gets one deletes it */
typedef struct TRITONBACKEND_Backend Backend;
typedef struct TRITONBACKEND_Model Model; /* one version of a model */
typedef struct TRITONBACKEND_ModelInstance Instance;
typedef struct TRITONBACKEND_Request Request;
typedef struct TRITONBACKEND_Response Response;
typedef struct TRITONBACKEND_Input Input;
typedef struct TRITONBACKEND_Output Output;

enum { API_MAJOR = 1, API_MINOR = 19 };
enum { CODE_INTERNAL = 1, CODE_INVALID_ARGUMENT = 3 };
enum { LEVEL_INFO = 0, LEVEL_WARNING = 1, LEVEL_ERROR = 2 };
enum { MEMORY_CPU = 0, MEMORY_GPU = 2 };
enum { PARAMETER_STRING = 0 };
enum { RELEASE_ALL = 1, RESPONSE_FINAL = 1 };
enum { /* types of tensors */
    TRITON_BOOL = 1,
    TRITON_UINT8 = 2,
    TRITON_INT8 = 6,
    TRITON_INT16 = 7,
    TRITON_INT32 = 8,
    TRITON_INT64 = 9,
    TRITON_FP16 = 10,
    TRITON_FP32 = 11
};

Error *TRITONSERVER_ErrorNew(int code, const char *text);
void TRITONSERVER_ErrorDelete(Error *error);
const char *TRITONSERVER_ErrorMessage(Error *error);
const char *TRITONSERVER_DataTypeString(int type);
Error *TRITONSERVER_LogMessage(int level, const char *file, int line, const char *text);

Error *TRITONBACKEND_ApiVersion(uint32_t *major, uint32_t *minor);
Error *TRITONBACKEND_ModelName(Model *model, const char **name);
Error *TRITONBACKEND_ModelVersion(Model *model, uint64_t *version);
Error *TRITONBACKEND_ModelRepository(Model *model, int *artifact, const char **folder);
Error *TRITONBACKEND_ModelState(Model *model, void **state);
Error *TRITONBACKEND_ModelSetState(Model *model, void *state);
Error *TRITONBACKEND_ModelInstanceModel(Instance *instance, Model **model);
Error *TRITONBACKEND_ModelInstanceReportStatistics(Instance *instance, Request *request, bool success,
                                                   uint64_t start_ns, uint64_t compute_start_ns,
                                                   uint64_t compute_end_ns, uint64_t end_ns);
Error *TRITONBACKEND_ModelInstanceReportBatchStatistics(Instance *instance, uint64_t batch, uint64_t start_ns,
                                                        uint64_t compute_start_ns, uint64_t compute_end_ns,
                                                        uint64_t end_ns);

Error *TRITONBACKEND_RequestInput(Request *request, const char *name, Input **input);
Error *TRITONBACKEND_InputProperties(Input *input, const char **name, int *type, const int64_t **shape,
                                     uint32_t *rank, uint64_t *bytes, uint32_t *buffers);
Error *TRITONBACKEND_InputBuffer(Input *input, uint32_t index, const void **buffer, uint64_t *bytes, int *memory,
                                 int64_t *memory_id);
Error *TRITONBACKEND_RequestOutputCount(Request *request, uint32_t *count);
Error *TRITONBACKEND_RequestOutputName(Request *request, uint32_t index, const char **name);
Error *TRITONBACKEND_RequestParameterCount(Request *request, uint32_t *count);
Error *TRITONBACKEND_RequestParameter(Request *request, uint32_t index, const char **key, int *type,
                                      const void **value);
Error *TRITONBACKEND_RequestRelease(Request *request, uint32_t flags);

Error *TRITONBACKEND_ResponseNew(Response **response, Request *request);
Error *TRITONBACKEND_ResponseSetStringParameter(Response *response, const char *name, const char *value);
Error *TRITONBACKEND_ResponseOutput(Response *response, Output **output, const char *name, int type,
                                    const int64_t *shape, uint32_t rank);
Error *TRITONBACKEND_OutputBuffer(Output *output, void **buffer, uint64_t bytes, int *memory, int64_t *memory_id);
Error *TRITONBACKEND_ResponseSend(Response *response, uint32_t flags, Error *error);

#endif
