/* Feed every file of the corpus folder (FUZZ_CORPUS) to the fuzz target, whole, cut at each length, and with
 * each byte changed: a regression test that needs no fuzzing engine. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 16, MUTATED_MAX = 512 };

static size_t replay_one(const char *path)
{
    static uint8_t bytes[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    size_t size, runs = 1;

    if (file == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, size);
    for (size_t i = 0; i < size && i < MUTATED_MAX; i++) {
        uint8_t kept = bytes[i];

        LLVMFuzzerTestOneInput(bytes, i);
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] = kept ^ (uint8_t)(1u << bit);
            LLVMFuzzerTestOneInput(bytes, size);
        }
        bytes[i] = kept;
        runs += 9;
    }
    return runs;
}

int main(void)
{
    struct dirent *entry;
    size_t files = 0, runs = 0;
    DIR *folder;

    if ((folder = opendir(FUZZ_CORPUS)) == NULL) {
        perror(FUZZ_CORPUS);
        return EXIT_FAILURE;
    }
    while ((entry = readdir(folder)) != NULL) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", FUZZ_CORPUS, entry->d_name);
        runs += replay_one(path);
        files++;
    }
    closedir(folder);
    printf("%zu files, %zu runs\n", files, runs);
    return files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
