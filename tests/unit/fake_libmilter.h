/* fake_libmilter.h - what session.c calls of libmilter, for tests that play the MTA's part by calling the callbacks. */
#ifndef FAKE_LIBMILTER_H
#define FAKE_LIBMILTER_H

#include <libmilter/mfapi.h>

enum { FAKE_MACROS_MAX = 8, FAKE_STAGES = SMFIM_LAST + 1 };

struct fake_macro {
    const char *name, *value;
};

struct smfi_str {
    void *priv;
    struct fake_macro macros[FAKE_MACROS_MAX]; /* up to the first without a name */
    const char *asked[FAKE_STAGES];            /* by smfi_setsymlist() */
    char reply[512];                           /* "451 4.7.1 line|line", of the last smfi_setmlreply() */
};

/* What smfi_register() was told. */
extern struct smfiDesc fake_libmilter;

#endif
