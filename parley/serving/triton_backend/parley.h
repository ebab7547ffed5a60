/* What the parts of the backend share: what a version is, and how they say that something failed.
 *
 *     parley.c     what Triton calls
 *     opening.c    a version is checked and becomes a session
 *     answering.c  requests become batches, and batches answers
 *     runtime.c    how a function says that it failed; ONNX Runtime */
#ifndef PARLEY_H
#define PARLEY_H

#include "ort.h"
#include "triton.h"

enum { WHY = 1024, MOST_RANK = 8 };

typedef struct { /* a type of tensor that is served */
    const char *name; /* as manifests and Triton call it */
    int triton, ort;
    size_t bytes;
} Type;

typedef struct { /* the inputs of a version, or its outputs */
    size_t count;
    char **names;
    const Type **types;
} Side;

typedef struct { /* one version of a model */
    OrtSession *session; /* NULL until it is open; its instances share it */
    Side inputs, outputs;
} Version;

extern Ort ort;
extern OrtEnv *ort_environment;
extern OrtMemoryInfo *ort_memory;

/* Every function that can fail returns false then, and writes the reason into `why`, one line of at most WHY bytes. */

bool fail(char *why, const char *format, ...) __attribute__((format(printf, 2, 3))); /* always false */
bool ran(OrtStatus *status, char *why); /* takes a status of ONNX Runtime and releases it */
bool went(Error *error, char *why);     /* takes an error of Triton and deletes it */
void log_failure(Error *error);         /* takes one that nobody can be told of */

/* Find ONNX Runtime (PARLEY_ONNXRUNTIME names the library) and bound its memory; once for the process. */
bool start_runtime(char *why);
void stop_runtime(void);

/* Check version `number` in the model's `folder` and open its session, in the calling thread. */
bool open_version(Version *version, const char *folder, const char *model, uint64_t number, char *why);
void close_version(Version *version);

/* Answer the requests of a dynamic batch and give them back. False when nothing was done with them. */
bool answer_requests(Instance *instance, const Version *version, Request **requests, uint32_t count, char *why);

#endif
