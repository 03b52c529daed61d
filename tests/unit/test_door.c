#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "report/door.h"

/* The database's answers are of this file: what no honest database would say. */
enum { COLUMNS = 14, STATEMENTS_MAX = 8 };

static struct fake {
    enum db_status status;
    const char *row[COLUMNS];
    const char *token, *outcome;
    unsigned asked;
} fake;

struct db_result {
    const char *const *values;
};

enum db_status db_query_texts(struct db *db, int timeout_ms, const char *sql, const char *const *texts, size_t text_count,
                              struct db_result **result)
{
    static struct db_result results[STATEMENTS_MAX];

    (void)db, (void)timeout_ms, (void)texts, (void)text_count;
    *result = &results[fake.asked++ % STATEMENTS_MAX];
    (*result)->values = strstr(sql, "door_look_up") != NULL ? fake.row : strstr(sql, "door_token") != NULL ? &fake.token : &fake.outcome;
    return fake.status;
}

size_t db_rows(const struct db_result *result)
{
    (void)result;
    return 1;
}

const char *db_value(const struct db_result *result, size_t row, size_t column)
{
    (void)row;
    return result->values[column];
}

size_t db_columns(const struct db_result *result)
{
    (void)result;
    return COLUMNS;
}

const char *db_column_name(const struct db_result *result, size_t column)
{
    (void)result, (void)column;
    return "";
}

void db_result_free(struct db_result **result)
{
    *result = NULL;
}

static char *page_of(struct door_visit visit, bool ask, int *http_status)
{
    char *page = NULL;
    size_t length;
    FILE *out = alloc_text_begin(&page, &length);

    if (visit.words == NULL)
        visit.words = catalogues[0];
    visit.asker_is_sure = ipaddr_parse("203.0.113.7", &visit.asker);
    if ((ask ? door_ask_removal : door_look_up)((struct db *)&fake, &visit, out, http_status) != fake.status)
        fail_msg("another status than the database's");
    alloc_text_end(out);
    return page;
}

static void each_catalogue_has_each_word(void **state)
{
    (void)state;
    for (const struct catalogue *const *each = catalogues; *each != NULL; each++)
        for (int word = 0; word < WORD_COUNT; word++) {
            const char *text = (*each)->words[word], *english = catalogues[0]->words[word];

            if (text == NULL || *text == '\0') {
                fail_msg("%s has no word %d (%s)", (*each)->language, word, english);
                return;
            }
            if (strpbrk(text, "<>&\"\\") != NULL)
                fail_msg("%s is not fit for HTML and JSON", text);
            for (const char *at = text; *at != '\0'; at++)
                if ((unsigned char)*at < 0x20)
                    fail_msg("%s has a control character", text);
            if ((strchr(text, '$') == NULL) != (strchr(english, '$') == NULL))
                fail_msg("%s: one of it and \"%s\" tells nothing of what the page puts there", text, english);
        }
}

static void the_language_is_the_one_that_is_wanted_most(void **state)
{
    static const struct {
        const char *header, *language;
    } table[] = {
        {NULL, "en"}, {"", "en"}, {"de", "de"}, {"DE-de", "de"}, {"deu", "en"}, {"d", "en"}, {"fr, de;q=0.1", "de"},
        {"en;q=0.5,de;q=0.6", "de"}, {"en;q=0.6,de;q=0.59", "en"}, {"de;q=0, en;q=0.1", "en"}, {"de;q=0", "en"}, {"de,en", "de"},
        {"*, de;q=0.9", "en"}, {"de; q=1.000", "de"}, {",,,de", "de"}, {";q=1,de", "de"}, {"de;q=9999999999999999999", "de"},
        {"de;q", "de"}, {"de;", "de"}, {"\xff\xfe", "en"}, {"   ", "en"}, {"de;q=1.9.9,en", "de"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *got = catalogue_choose(table[i].header)->language;

        if (strcmp(got, table[i].language) != 0)
            fail_msg("%s: wanted %s, got %s", table[i].header, table[i].language, got);
    }
}

/* NOLINTNEXTLINE(misc-misleading-bidirectional): that is what is hostile */
static const char hostile[] = "</title><script>alert(1)</script>\"'\\&amp;\n\r\t\x1b\xe2\x80\xae\xff{}";

static void whatever_the_database_says_is_text(void **state)
{
    (void)state;
    for (size_t column = 0; column < COLUMNS; column++)
        for (int json = 0; json < 2; json++) {
            int http_status = 0;
            char *page;

            fake = (struct fake){.row = {"203.0.113.7", "t", "a@b.example", "", "trap", "witnessed", "t", "t", "t", "2026-11-27T12:00Z",
                                         "2026-11-28T12:00Z", "2026-11-27", "person", "hunnypot-0"},
                                 .token = hostile, .outcome = hostile};
            fake.row[column] = hostile;
            page = page_of((struct door_visit){.address = "203.0.113.7", .json = json != 0, .token = hostile}, true, &http_status);
            assert_int_equal(http_status, 500);
            if (strstr(page, "\x1b") != NULL || strstr(page, "\r") != NULL || (json == 0 && strstr(page, "<script") != NULL) ||
                (json != 0 && strchr(page, '\\') != NULL))
                fail_msg("column %zu got through: %s", column, page);
            free(page);
        }
}

static void whatever_is_asked_for_is_text(void **state)
{
    int http_status = 0;
    char *page;

    (void)state;
    fake = (struct fake){.row = {NULL}};
    page = page_of((struct door_visit){.address = hostile}, false, &http_status);
    assert_int_equal(http_status, 400);
    assert_null(strstr(page, "<script"));
    assert_non_null(strstr(page, "value=\"&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;\\x5C&amp;amp;\\x0A"));
    free(page);
    page = page_of((struct door_visit){.address = hostile, .json = true}, false, &http_status);
    assert_null(strstr(page, "script"));
    free(page);
}

static void without_an_answer_there_is_a_whole_page(void **state)
{
    (void)state;
    for (int ask = 0; ask < 2; ask++)
        for (const struct catalogue *const *each = catalogues; *each != NULL; each++) {
            int http_status = 0;
            char *page;

            fake = (struct fake){.status = DB_UNREACHABLE};
            page = page_of((struct door_visit){.address = "203.0.113.7", .words = *each}, ask == 1, &http_status);
            assert_int_equal(http_status, 503);
            assert_non_null(strstr(page, (*each)->words[WORD_WRONG_LATER]));
            assert_string_equal(page + strlen(page) - 8, "</html>\n");
            free(page);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_catalogue_has_each_word),
        cmocka_unit_test(the_language_is_the_one_that_is_wanted_most),
        cmocka_unit_test(whatever_the_database_says_is_text),
        cmocka_unit_test(whatever_is_asked_for_is_text),
        cmocka_unit_test(without_an_answer_there_is_a_whole_page),
    };

    return cmocka_run_group_tests_name("door", tests, NULL, NULL);
}
