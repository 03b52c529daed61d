#include "report/section.h"

#include <stdlib.h>

#include "report/frame.h"
#include "report/html.h"

static enum db_status write_one(struct db *db, FILE *out, const struct section *section, const char *const *parameters,
                                size_t count,
                                const char *zone)
{
    struct db_result *result = NULL;
    enum db_status status = db_query_texts(db, FRAME_TIMEOUT_MS, section->sql, parameters, count, &result);

    if (status == DB_OK) {
        html_section_begin(out, section->title, section->words);
        if (section->draw != NULL)
            section->draw(out, section->title, result, zone);
        html_table(out, section->table, result, zone, section->draw == NULL);
        html_section_end(out);
    }
    db_result_free(&result);
    return status;
}

enum db_status section_write(struct db *db, FILE *out, struct section *sections, size_t count, const char *const *parameters,
                             size_t parameter_count, const char *zone)
{
    enum db_status status = DB_OK;

    for (size_t i = 0; i < count; i++) {
        if (status == DB_OK)
            status = write_one(db, out, &sections[i], parameters, parameter_count, zone);
        free(sections[i].sql);
    }
    return status;
}
