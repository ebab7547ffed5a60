/* Opening a version. `python -m parley.serving.handover` checks it with all that the site trusts, in a process of its
 * own, and hands over its tensors and its graph: what is opened here are the very bytes that were checked. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parley.h"

static const Type TYPES[] = {
    {"FP32", TRITON_FP32, ORT_FLOAT, 4},   {"FP16", TRITON_FP16, ORT_FLOAT16, 2}, {"INT64", TRITON_INT64, ORT_INT64, 8},
    {"INT32", TRITON_INT32, ORT_INT32, 4}, {"INT16", TRITON_INT16, ORT_INT16, 2}, {"INT8", TRITON_INT8, ORT_INT8, 1},
    {"UINT8", TRITON_UINT8, ORT_UINT8, 1}, {"BOOL", TRITON_BOOL, ORT_BOOL, 1},
};

typedef struct {
    char *bytes; /* a '\0' follows them */
    size_t size;
} Content;

/* ---- The check. ---- */

static bool read_all(int pipe, Content *content, char *why)
{
    size_t room = 0;
    for (;;) {
        if (content->size == room) {
            room = room ? 2 * room : 1 << 20;
            char *larger = realloc(content->bytes, room + 1);
            if (larger == NULL)
                return fail(why, "no memory to read the version");
            content->bytes = larger;
        }
        ssize_t got = read(pipe, content->bytes + content->size, room - content->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(why, "the checked version cannot be read: %s", strerror(errno));
        content->bytes[content->size += (size_t)got] = '\0';
        if (got == 0)
            return true;
    }
}

/* Start `command` with its output going to `pipe`. It inherits none of the server's files and connections. */
static bool start(char *const command[], int pipe, pid_t *child, char *why)
{
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, pipe, STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    int problem = posix_spawn(child, command[0], &files, NULL, command, environ);
    posix_spawn_file_actions_destroy(&files);
    return problem == 0 ? true : fail(why, "cannot start %s: %s", command[0], strerror(problem));
}

static bool check(const char *folder, const char *model, uint64_t number, Content *content, char *why)
{
    char *python = getenv("PARLEY_PYTHON"), digits[24], directory[4096];
    if (python == NULL)
        return fail(why, "this server was not told which Python checks versions (PARLEY_PYTHON)");
    snprintf(digits, sizeof digits, "%" PRIu64, number);
    snprintf(directory, sizeof directory, "%s/%s", folder, digits);
    char *command[] = {python, "-P", "-m", "parley.serving.handover", directory, (char *)model, digits, NULL};
    int ends[2], status = -1;
    pid_t child;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(why, "no pipe: %s", strerror(errno));
    bool started = start(command, ends[1], &child, why);
    close(ends[1]);
    bool whole = started && read_all(ends[0], content, why);
    close(ends[0]); /* a check that still writes ends by it */
    while (started && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!whole || status == 0)
        return whole;
    if (WIFEXITED(status) && content->size > 0)
        return fail(why, "%s", content->bytes);
    return fail(why, "the check of the version ended with status %d; the server's log says more", status);
}

/* ---- What it hands over. ---- */

static const Type *type_called(const char *name)
{
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (strcmp(TYPES[i].name, name) == 0)
            return &TYPES[i];
    return NULL;
}

static bool add_tensor(Side *side, const Type *type, const char *name, char *why)
{
    char **names = realloc(side->names, (side->count + 1) * sizeof *names);
    side->names = names ? names : side->names;
    const Type **types = realloc(side->types, (side->count + 1) * sizeof *types);
    side->types = types ? types : side->types;
    char *copy = strdup(name);
    if (names == NULL || types == NULL || copy == NULL) {
        free(copy);
        return fail(why, "no memory for the names of tensors");
    }
    side->names[side->count] = copy;
    side->types[side->count++] = type;
    return true;
}

/* Take the lines `input TYPE NAME` and `output TYPE NAME`; what follows the line `graph` is the graph. */
static bool read_tensors(Version *version, const Content *content, const char **graph, char *why)
{
    for (char *line = content->bytes, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strcmp(line, "graph") == 0 && version->inputs.count > 0 && version->outputs.count > 0) {
            *graph = end + 1;
            return true;
        }
        char side[8], name[8];
        int start = 0;
        if (sscanf(line, "%7s %7s %n", side, name, &start) != 2 || start == 0)
            break;
        const Type *type = type_called(name);
        if (type == NULL)
            return fail(why, "tensor '%s' is %s, which is not served", line + start, name);
        bool input = strcmp(side, "input") == 0;
        if (!add_tensor(input ? &version->inputs : &version->outputs, type, line + start, why))
            return false;
    }
    return fail(why, "the check of the version handed over no version");
}

/* ---- The session. ---- */

typedef struct {
    OrtStatus *(*count)(const OrtSession *, size_t *);
    OrtStatus *(*name)(const OrtSession *, size_t, OrtAllocator *, char **);
    OrtStatus *(*type)(const OrtSession *, size_t, OrtTypeInfo **);
} Ask;

/* Type of tensor `index` of a graph, if its name is `wanted`; 0 for another name, or for what is no tensor. */
static bool type_if_called(const OrtSession *session, const Ask *ask, size_t index, const char *wanted, int *type,
                           char *why)
{
    OrtAllocator *allocator;
    char *name = NULL;
    if (!ran(ort.GetAllocatorWithDefaultOptions(&allocator), why) ||
        !ran(ask->name(session, index, allocator, &name), why))
        return false;
    bool called = strcmp(name, wanted) == 0;
    OrtTypeInfo *info = NULL;
    const OrtTensorInfo *tensor = NULL;
    *type = 0;
    bool known = ran(ort.AllocatorFree(allocator, name), why) &&
                 (!called || (ran(ask->type(session, index, &info), why) &&
                              ran(ort.CastTypeInfoToTensorInfo(info, &tensor), why) &&
                              (tensor == NULL || ran(ort.GetTensorElementType(tensor, type), why))));
    if (info != NULL)
        ort.ReleaseTypeInfo(info);
    return known;
}

/* Whether the graph has all tensors of one side in the types that the manifest names. */
static bool has_tensors(const OrtSession *session, const Side *side, const Ask *ask, char *why)
{
    size_t count = 0;
    if (!ran(ask->count(session, &count), why))
        return false;
    for (size_t i = 0; i < side->count; i++) {
        int type = 0;
        for (size_t index = 0; index < count && type == 0; index++)
            if (!type_if_called(session, ask, index, side->names[i], &type, why))
                return false;
        if (type != side->types[i]->ort)
            return fail(why, "the graph has no tensor '%s' of type %s, which the manifest names", side->names[i],
                        side->types[i]->name);
    }
    return true;
}

static bool open_session(Version *version, const char *graph, size_t bytes, char *why)
{
    const Ask of_inputs = {ort.SessionGetInputCount, ort.SessionGetInputName, ort.SessionGetInputTypeInfo};
    const Ask of_outputs = {ort.SessionGetOutputCount, ort.SessionGetOutputName, ort.SessionGetOutputTypeInfo};
    OrtSessionOptions *options = NULL;
    OrtSession *session = NULL;
    /* One thread for each run: instances are the parallelism. */
    bool opened = ran(ort.CreateSessionOptions(&options), why) && ran(ort.SetIntraOpNumThreads(options, 1), why) &&
                  ran(ort.SetInterOpNumThreads(options, 1), why) &&
                  ran(ort.AddSessionConfigEntry(options, "session.use_env_allocators", "1"), why) &&
                  ran(ort.CreateSessionFromArray(ort_environment, graph, bytes, options, &session), why) &&
                  has_tensors(session, &version->inputs, &of_inputs, why) &&
                  has_tensors(session, &version->outputs, &of_outputs, why);
    if (options != NULL)
        ort.ReleaseSessionOptions(options);
    if (opened)
        version->session = session;
    else if (session != NULL)
        ort.ReleaseSession(session);
    return opened;
}

bool open_version(Version *version, const char *folder, const char *model, uint64_t number, char *why)
{
    Content content = {NULL, 0};
    const char *graph = NULL;
    bool opened = check(folder, model, number, &content, why) && read_tensors(version, &content, &graph, why) &&
                  open_session(version, graph, content.size - (size_t)(graph - content.bytes), why);
    free(content.bytes);
    return opened;
}

void close_version(Version *version)
{
    Side *sides[] = {&version->inputs, &version->outputs};
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sides[s]->count; i++)
            free(sides[s]->names[i]);
        free(sides[s]->names);
        free(sides[s]->types);
    }
    if (version->session != NULL)
        ort.ReleaseSession(version->session);
}
