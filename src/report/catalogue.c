#include "report/catalogue.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern const struct catalogue catalogue_en, catalogue_de;

const struct catalogue *const catalogues[] = {&catalogue_en, &catalogue_de, NULL};

/* The weight of an element of LENGTH bytes, in thousandths: "de-AT;q=0.8". */
static int weight_of(const char *element, size_t length)
{
    int weight = 0, unit = 1000;
    const char *at = memchr(element, ';', length), *end = element + length;

    if (at == NULL)
        return unit;
    for (at++; at < end && (*at == ' ' || *at == '\t'); at++)
        ;
    if (end - at < 3 || (at[0] != 'q' && at[0] != 'Q') || at[1] != '=')
        return unit;
    for (at += 2; at < end && unit > 0 && ((*at >= '0' && *at <= '9') || *at == '.'); at++)
        if (*at != '.') {
            weight += (*at - '0') * unit;
            unit /= 10;
        }
    return weight < 1000 ? weight : 1000;
}

/* Whose language ELEMENT of LENGTH bytes begins with, or NULL. */
static const struct catalogue *speaker_of(const char *element, size_t length)
{
    size_t tag = 0;

    while (tag < length && ((element[tag] | 32) >= 'a' && (element[tag] | 32) <= 'z'))
        tag++;
    for (const struct catalogue *const *each = catalogues; *each != NULL; each++)
        if (strlen((*each)->language) == tag && strncasecmp((*each)->language, element, tag) == 0)
            return *each;
    return tag == 0 && length > 0 && *element == '*' ? catalogues[0] : NULL;
}

const struct catalogue *catalogue_choose(const char *accept_language)
{
    const struct catalogue *best = catalogues[0];
    int best_weight = 0;

    for (const char *at = accept_language; at != NULL && *at != '\0'; at += *at == ',') {
        const struct catalogue *speaker;
        size_t length;
        int weight;

        at += strspn(at, " \t");
        length = strcspn(at, ",");
        speaker = speaker_of(at, length);
        weight = speaker == NULL ? 0 : weight_of(at, length);
        if (weight > best_weight) {
            best = speaker;
            best_weight = weight;
        }
        at += length;
    }
    return best;
}
