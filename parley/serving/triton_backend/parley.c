/* Triton backend `parley`: serves published versions with ONNX Runtime inside the server's own process.
 *
 * It knows no model family and no signature: names, types and the graph come from the check of the version
 * (opening.c). Two variables of the server's environment say where things are: PARLEY_PYTHON (opening.c), and
 * PARLEY_ONNXRUNTIME, the library (runtime.c). */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parley.h"

#define EXPORT __attribute__((visibility("default")))

enum { STAND_BACK = 10 }; /* by how much niceness a version that gets ready stands back behind those that answer */

typedef struct { /* what Triton keeps for a version */
    pthread_mutex_t opening;
    Version version;
} Kept;

static Error *refusal(const char *why)
{
    return TRITONSERVER_ErrorNew(CODE_INTERNAL, why);
}

EXPORT Error *TRITONBACKEND_Initialize(Backend *backend)
{
    (void)backend;
    uint32_t major = 0, minor = 0;
    char why[WHY];
    if (!went(TRITONBACKEND_ApiVersion(&major, &minor), why))
        return refusal(why);
    if (major != API_MAJOR || minor < API_MINOR)
        return refusal("this Triton's backend interface is not 1.19 or a later 1.x");
    return start_runtime(why) ? NULL : refusal(why);
}

EXPORT Error *TRITONBACKEND_Finalize(Backend *backend)
{
    (void)backend;
    stop_runtime();
    return NULL;
}

/* Triton holds a lock of all models during this call, so the version is opened with its first instance. */
EXPORT Error *TRITONBACKEND_ModelInitialize(Model *model)
{
    Kept *kept = calloc(1, sizeof *kept);
    if (kept == NULL)
        return refusal("no memory");
    pthread_mutex_init(&kept->opening, NULL);
    return TRITONBACKEND_ModelSetState(model, kept);
}

EXPORT Error *TRITONBACKEND_ModelFinalize(Model *model)
{
    Kept *kept = NULL;
    Error *error = TRITONBACKEND_ModelState(model, (void **)&kept);
    if (kept != NULL) {
        close_version(&kept->version);
        pthread_mutex_destroy(&kept->opening);
        free(kept);
    }
    return error;
}

typedef struct {
    Version *version;
    const char *folder, *model;
    uint64_t number;
    bool opened;
    char why[WHY];
} Opening;

/* A thread of its own. Niceness is a thread's own on Linux, and only root may take it back: one that ends needs not. */
static void *open_behind(void *argument)
{
    Opening *opening = argument;
    (void)!nice(STAND_BACK);
    opening->opened =
        open_version(opening->version, opening->folder, opening->model, opening->number, opening->why);
    return NULL;
}

static bool open_once(Instance *instance, char *why)
{
    Opening opening = {0};
    Model *model;
    Kept *kept;
    int artifact;
    if (!went(TRITONBACKEND_ModelInstanceModel(instance, &model), why) ||
        !went(TRITONBACKEND_ModelState(model, (void **)&kept), why) ||
        !went(TRITONBACKEND_ModelName(model, &opening.model), why) ||
        !went(TRITONBACKEND_ModelVersion(model, &opening.number), why) ||
        !went(TRITONBACKEND_ModelRepository(model, &artifact, &opening.folder), why))
        return false;
    opening.version = &kept->version;
    pthread_mutex_lock(&kept->opening);
    opening.opened = kept->version.session != NULL;
    if (!opening.opened) {
        pthread_t thread;
        int problem = pthread_create(&thread, NULL, open_behind, &opening);
        if (problem == 0)
            pthread_join(thread, NULL);
        else
            fail(opening.why, "no thread: %s", strerror(problem));
    }
    pthread_mutex_unlock(&kept->opening);
    return opening.opened ? true : fail(why, "%s", opening.why);
}

EXPORT Error *TRITONBACKEND_ModelInstanceInitialize(Instance *instance)
{
    char why[WHY];
    return open_once(instance, why) ? NULL : refusal(why);
}

EXPORT Error *TRITONBACKEND_ModelInstanceExecute(Instance *instance, Request **requests, uint32_t count)
{
    Model *model;
    Kept *kept;
    char why[WHY];
    if (went(TRITONBACKEND_ModelInstanceModel(instance, &model), why) &&
        went(TRITONBACKEND_ModelState(model, (void **)&kept), why) &&
        answer_requests(instance, &kept->version, requests, count, why))
        return NULL;
    return refusal(why);
}
