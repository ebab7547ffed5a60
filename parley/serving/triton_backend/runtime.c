/* What the other parts stand on: how a function says that it failed, and ONNX Runtime, found once for the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "parley.h"

Ort ort;
OrtEnv *ort_environment;
OrtMemoryInfo *ort_memory;

bool fail(char *why, const char *format, ...)
{
    char text[WHY];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *end = why;
    for (const char *c = text; *c != '\0'; c++) {
        bool blank = (unsigned char)*c <= ' ';
        if (!blank || (end > why && end[-1] != ' '))
            *end++ = blank ? ' ' : *c;
    }
    while (end > why && end[-1] == ' ')
        end--;
    *end = '\0';
    return false;
}

bool ran(OrtStatus *status, char *why)
{
    if (status == NULL)
        return true;
    fail(why, "%s", ort.GetErrorMessage(status));
    ort.ReleaseStatus(status);
    return false;
}

bool went(Error *error, char *why)
{
    if (error == NULL)
        return true;
    fail(why, "%s", TRITONSERVER_ErrorMessage(error));
    TRITONSERVER_ErrorDelete(error);
    return false;
}

void log_failure(Error *error)
{
    char why[WHY];
    if (!went(error, why))
        TRITONSERVER_LogMessage(LEVEL_ERROR, "parley.c", 0, why);
}

static bool find_runtime(char *why)
{
    const char *path = getenv("PARLEY_ONNXRUNTIME");
    if (path == NULL)
        return fail(why, "this server was not told where ONNX Runtime is (PARLEY_ONNXRUNTIME)");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return fail(why, "cannot open ONNX Runtime: %s", dlerror());
    const OrtApiBase *(*base)(void) = NULL;
    *(void **)&base = dlsym(library, "OrtGetApiBase");
    const void *const *table = base == NULL ? NULL : base()->GetApi(ORT_API);
    if (table == NULL)
        return fail(why, "%s is no ONNX Runtime of version 1.%d or later", path, ORT_API);
#define FIND(place, result, name, arguments) *(const void **)&ort.name = table[place];
    ORT_FUNCTIONS(FIND)
#undef FIND
    return true;
}

/* One arena for all versions, of at most half of the machine's memory: a graph that asks for more is refused by ONNX
 * Runtime, instead of the server being ended by the system. */
static bool bound_memory(char *why)
{
    size_t most = (size_t)sysconf(_SC_PHYS_PAGES) / 2 * (size_t)sysconf(_SC_PAGESIZE);
    OrtArenaCfg *bounds = NULL;
    bool bound = ran(ort.CreateArenaCfg(most, -1, -1, -1, &bounds), why) &&
                 ran(ort.CreateAndRegisterAllocator(ort_environment, ort_memory, bounds), why);
    if (bounds != NULL)
        ort.ReleaseArenaCfg(bounds);
    return bound;
}

bool start_runtime(char *why)
{
    return find_runtime(why) && ran(ort.CreateEnv(ORT_LOG_ERROR, "parley", &ort_environment), why) &&
           ran(ort.CreateCpuMemoryInfo(ORT_ARENA_ALLOCATOR, ORT_MEMORY_DEFAULT, &ort_memory), why) && bound_memory(why);
}

void stop_runtime(void)
{
    if (ort_memory != NULL)
        ort.ReleaseMemoryInfo(ort_memory);
    if (ort_environment != NULL)
        ort.ReleaseEnv(ort_environment);
}
