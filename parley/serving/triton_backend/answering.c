/* Answering a dynamic batch: requests whose shapes agree run as one batch, a bad request fails alone.
 *
 * A response is made from its request before anything runs and stays with it, so that no answer can reach another
 * caller, however late it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "parley.h"

typedef struct { /* an input as a request brings it */
    Input *input;
    const int64_t *shape;
    uint32_t rank, buffers;
    uint64_t bytes;
} Arrived;

typedef struct { /* a request on its way to its answer */
    Request *request;
    Response *response;
    Arrived *inputs; /* in the version's order */
    int64_t batch;
    bool grouped, failed;
    char why[WHY];
    uint64_t run_start_ns, run_end_ns;
} Job;

typedef struct { /* jobs of equal shapes, and what their run uses */
    Job **jobs;
    size_t count;
    int64_t size; /* rows of all jobs */
    void **buffers; /* of the inputs */
    OrtValue **inputs, **outputs;
} Batch;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- Requests. ---- */

static bool look_at_input(Arrived *arrived, Request *request, const char *name, const Type *type, char *why)
{
    int kind;
    if (!went(TRITONBACKEND_RequestInput(request, name, &arrived->input), why) ||
        !went(TRITONBACKEND_InputProperties(arrived->input, NULL, &kind, &arrived->shape, &arrived->rank,
                                            &arrived->bytes, &arrived->buffers),
              why))
        return false;
    if (kind != type->triton)
        return fail(why, "input '%s' is %s, expected %s", name, TRITONSERVER_DataTypeString(kind), type->name);
    if (arrived->rank < 1 || arrived->rank > MOST_RANK)
        return fail(why, "input '%s' has %" PRIu32 " dimensions", name, arrived->rank);
    uint64_t bytes = type->bytes;
    for (uint32_t d = 0; d < arrived->rank; d++)
        if (arrived->shape[d] < 0 || __builtin_mul_overflow(bytes, (uint64_t)arrived->shape[d], &bytes))
            return fail(why, "input '%s' has an impossible shape", name);
    if (bytes != arrived->bytes)
        return fail(why, "input '%s' has %" PRIu64 " bytes, its shape %" PRIu64, name, arrived->bytes, bytes);
    return true;
}

static bool look_at(Job *job, const Version *version, char *why)
{
    for (size_t i = 0; i < version->inputs.count; i++) {
        if (!look_at_input(&job->inputs[i], job->request, version->inputs.names[i], version->inputs.types[i], why))
            return false;
        if (job->inputs[i].shape[0] != job->inputs[0].shape[0])
            return fail(why, "the inputs disagree about the batch size: '%s' has %" PRId64 ", '%s' %" PRId64,
                        version->inputs.names[0], job->inputs[0].shape[0], version->inputs.names[i],
                        job->inputs[i].shape[0]);
    }
    job->batch = job->inputs[0].shape[0];
    return true;
}

static bool same_shapes(const Job *a, const Job *b, size_t inputs)
{
    for (size_t i = 0; i < inputs; i++)
        if (a->inputs[i].rank != b->inputs[i].rank ||
            memcmp(a->inputs[i].shape + 1, b->inputs[i].shape + 1, (a->inputs[i].rank - 1) * sizeof(int64_t)) != 0)
            return false;
    return true;
}

/* ---- A batch. ---- */

/* Copy one input of all jobs, one after the other. */
static bool gather(const Batch *batch, size_t index, char *target, char *why)
{
    for (size_t j = 0; j < batch->count; j++) {
        const Arrived *arrived = &batch->jobs[j]->inputs[index];
        for (uint32_t b = 0; b < arrived->buffers; b++) {
            const void *part;
            uint64_t bytes;
            int place = MEMORY_CPU;
            int64_t place_id = 0;
            if (!went(TRITONBACKEND_InputBuffer(arrived->input, b, &part, &bytes, &place, &place_id), why))
                return false;
            if (place == MEMORY_GPU)
                return fail(why, "an input lies in a GPU's memory");
            memcpy(target, part, bytes);
            target += bytes;
        }
    }
    return true;
}

static bool run(Batch *batch, const Version *version, char *why)
{
    const Side *inputs = &version->inputs, *outputs = &version->outputs;
    for (size_t i = 0; i < inputs->count; i++) {
        const Arrived *first = &batch->jobs[0]->inputs[i];
        int64_t shape[MOST_RANK];
        memcpy(shape, first->shape, first->rank * sizeof *shape);
        shape[0] = batch->size;
        uint64_t bytes = 0;
        for (size_t j = 0; j < batch->count; j++)
            bytes += batch->jobs[j]->inputs[i].bytes;
        batch->buffers[i] = malloc(bytes ? bytes : 1);
        if (batch->buffers[i] == NULL)
            return fail(why, "no memory for input '%s'", inputs->names[i]);
        if (!gather(batch, i, batch->buffers[i], why) ||
            !ran(ort.CreateTensorWithDataAsOrtValue(ort_memory, batch->buffers[i], bytes, shape, first->rank,
                                                    inputs->types[i]->ort, &batch->inputs[i]),
                 why))
            return false;
    }
    return ran(ort.Run(version->session, NULL, (const char *const *)inputs->names,
                       (const OrtValue *const *)batch->inputs, inputs->count, (const char *const *)outputs->names,
                       outputs->count, batch->outputs),
               why);
}

static bool is_wanted(Request *request, const char *name)
{
    uint32_t count = 0;
    char why[WHY];
    if (!went(TRITONBACKEND_RequestOutputCount(request, &count), why) || count == 0)
        return true;
    for (uint32_t i = 0; i < count; i++) {
        const char *wanted;
        if (went(TRITONBACKEND_RequestOutputName(request, i, &wanted), why) && strcmp(wanted, name) == 0)
            return true;
    }
    return false;
}

static bool give(Job *job, const char *name, const Type *type, const int64_t *shape, size_t rank, const void *rows,
                 uint64_t bytes, char *why)
{
    Output *output;
    void *buffer;
    int place = MEMORY_CPU;
    int64_t place_id = 0;
    if (!went(TRITONBACKEND_ResponseOutput(job->response, &output, name, type->triton, shape, (uint32_t)rank), why) ||
        !went(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &place, &place_id), why))
        return false;
    if (place == MEMORY_GPU)
        return fail(why, "the answer is wanted in a GPU's memory");
    memcpy(buffer, rows, bytes);
    return true;
}

static bool look_at_output(OrtValue *value, const char *name, int64_t *shape, size_t *rank, void **rows, char *why)
{
    OrtTensorInfo *info = NULL;
    if (!ran(ort.GetTensorTypeAndShape(value, &info), why))
        return false;
    bool known = ran(ort.GetDimensionsCount(info, rank), why) &&
                 (*rank <= MOST_RANK || fail(why, "output '%s' has %zu dimensions", name, *rank)) &&
                 ran(ort.GetDimensions(info, shape, *rank), why) && ran(ort.GetTensorMutableData(value, rows), why);
    ort.ReleaseTensorTypeAndShapeInfo(info);
    return known;
}

/* Give each job its rows of one output. */
static bool hand_out(Batch *batch, const char *name, const Type *type, OrtValue *value, char *why)
{
    int64_t shape[MOST_RANK] = {0};
    size_t rank = 0;
    void *data = NULL;
    if (!look_at_output(value, name, shape, &rank, &data, why))
        return false;
    if (rank < 1 || shape[0] != batch->size)
        return fail(why, "output '%s' has %" PRId64 " rows for a batch of %" PRId64, name, shape[0], batch->size);
    uint64_t row_bytes = type->bytes;
    for (size_t d = 1; d < rank; d++)
        row_bytes *= (uint64_t)shape[d];
    const char *rows = data;
    for (size_t j = 0; j < batch->count; j++) {
        Job *job = batch->jobs[j];
        uint64_t bytes = row_bytes * (uint64_t)job->batch;
        shape[0] = job->batch;
        if (!job->failed && is_wanted(job->request, name))
            job->failed = !give(job, name, type, shape, rank, rows, bytes, job->why);
        rows += bytes;
    }
    return true;
}

static void release(Batch *batch, const Version *version)
{
    for (size_t i = 0; i < version->inputs.count; i++) {
        if (batch->inputs[i] != NULL)
            ort.ReleaseValue(batch->inputs[i]);
        free(batch->buffers[i]);
    }
    for (size_t i = 0; i < version->outputs.count; i++)
        if (batch->outputs[i] != NULL)
            ort.ReleaseValue(batch->outputs[i]);
}

/* Run jobs of equal shapes; when their batch fails, each runs alone, so that only the culprit is refused. */
static void run_jobs(Instance *instance, const Version *version, Job **jobs, size_t count)
{
    void *buffers[version->inputs.count];
    OrtValue *inputs[version->inputs.count], *outputs[version->outputs.count];
    memset(buffers, 0, sizeof buffers);
    memset(inputs, 0, sizeof inputs);
    memset(outputs, 0, sizeof outputs);
    Batch batch = {jobs, count, 0, buffers, inputs, outputs};
    for (size_t j = 0; j < count; j++)
        batch.size += jobs[j]->batch;
    char why[WHY];
    uint64_t start = now_ns();
    bool done = run(&batch, version, why);
    uint64_t end = now_ns();
    for (size_t i = 0; i < version->outputs.count && done; i++)
        done = hand_out(&batch, version->outputs.names[i], version->outputs.types[i], outputs[i], why);
    release(&batch, version);
    if (!done && count > 1) {
        for (size_t j = 0; j < count; j++)
            run_jobs(instance, version, jobs + j, 1);
        return;
    }
    for (size_t j = 0; j < count; j++) {
        jobs[j]->run_start_ns = start;
        jobs[j]->run_end_ns = end;
    }
    if (!done)
        jobs[0]->failed = !fail(jobs[0]->why, "%s", why);
    log_failure(TRITONBACKEND_ModelInstanceReportBatchStatistics(instance, (uint64_t)batch.size, start, start, end,
                                                                 now_ns()));
}

/* ---- All of it. ---- */

/* Send the answer and give the request back. */
static void finish(Instance *instance, Job *job, uint64_t start_ns)
{
    if (job->response != NULL) {
        char text[WHY];
        snprintf(text, sizeof text, "refused: %.500s", job->why);
        Error *error = job->failed ? TRITONSERVER_ErrorNew(CODE_INTERNAL, text) : NULL;
        log_failure(TRITONBACKEND_ResponseSend(job->response, RESPONSE_FINAL, error));
        if (error != NULL)
            TRITONSERVER_ErrorDelete(error);
    }
    log_failure(TRITONBACKEND_ModelInstanceReportStatistics(instance, job->request, !job->failed, start_ns,
                                                            job->run_start_ns, job->run_end_ns, now_ns()));
    log_failure(TRITONBACKEND_RequestRelease(job->request, RELEASE_ALL));
}

/* The jobs from `first` on that are still to run and have its shapes; returns how many. */
static size_t take_group(Job *jobs, uint32_t first, uint32_t count, size_t inputs, Job **group)
{
    size_t size = 0;
    for (uint32_t j = first; j < count; j++)
        if (!jobs[j].failed && !jobs[j].grouped && same_shapes(&jobs[first], &jobs[j], inputs)) {
            jobs[j].grouped = true;
            group[size++] = &jobs[j];
        }
    return size;
}

bool answer_requests(Instance *instance, const Version *version, Request **requests, uint32_t count, char *why)
{
    uint64_t start = now_ns();
    size_t inputs = version->inputs.count;
    Job *jobs = calloc(count, sizeof *jobs);
    Job **group = calloc(count, sizeof *group);
    Arrived *arrived = calloc(count * inputs, sizeof *arrived);
    bool room = jobs != NULL && group != NULL && arrived != NULL;
    for (uint32_t j = 0; j < count && room; j++) {
        Job *job = &jobs[j];
        job->request = requests[j];
        job->inputs = arrived + j * inputs;
        job->run_start_ns = job->run_end_ns = start;
        job->failed = !went(TRITONBACKEND_ResponseNew(&job->response, job->request), job->why) ||
                      !look_at(job, version, job->why);
    }
    for (uint32_t j = 0; j < count && room; j++)
        if (!jobs[j].failed && !jobs[j].grouped)
            run_jobs(instance, version, group, take_group(jobs, j, count, inputs, group));
    for (uint32_t j = 0; j < count && room; j++)
        finish(instance, &jobs[j], start);
    free(jobs);
    free(group);
    free(arrived);
    return room ? true : fail(why, "no memory for the requests");
}
