/* fuzz.h - what a fuzz target is: one function, linked either with a fuzzing engine (tests/fuzz/run) or with replay.c,
 * which feeds it the corpus in `make check`. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* End the program, as a sanitizer would, when CONDITION does not hold. */
#define FUZZ_REQUIRE(condition) \
    do { \
        if (!(condition)) \
            __builtin_trap(); \
    } while (0)

#endif
