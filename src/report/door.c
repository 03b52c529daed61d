#include "report/door.h"

#include <stdlib.h>
#include <string.h>

#include "report/html.h"

/* What door_look_up() of the database says: a row for each listing, at least one. */
enum column {
    COLUMN_ADDRESS, COLUMN_IS_OWN, COLUMN_CONTACT, COLUMN_PRIVACY_URL, COLUMN_CLASS, COLUMN_PROOF, COLUMN_IS_ALONE, COLUMN_IS_LISTED,
    COLUMN_IS_FIRM, COLUMN_SINCE, COLUMN_UNTIL, COLUMN_LAST_SEEN, COLUMN_WAY, COLUMN_CODE
};

/* A page to write: what was found (NULL: nothing, as something is wrong), and what there is to say first. */
struct page {
    FILE *out;
    const struct door_visit *visit;
    const struct db_result *found;
    const char *outcome;          /* of a request, as hunnypot.door_ask() has it; NULL: none was made */
    enum catalogue_word notice;   /* WORD_COUNT: none */
    const char *token;            /* NULL: none could be had */
};

static const char *value(const struct page *page, size_t row, enum column column)
{
    const char *text = page->found == NULL ? NULL : db_value(page->found, row, column);

    return text == NULL ? "" : text;
}

static bool is_true(const struct page *page, size_t row, enum column column)
{
    return strcmp(value(page, row, column), "t") == 0;
}

static size_t listing_count(const struct page *page)
{
    return *value(page, 0, COLUMN_CLASS) == '\0' ? 0 : db_rows(page->found);
}

static bool is_listed_now(const struct page *page)
{
    for (size_t row = 0; row < listing_count(page); row++)
        if (is_true(page, row, COLUMN_IS_LISTED))
            return true;
    return false;
}

/* Who may ask, and is the address itself. */
static bool is_own(const struct page *page)
{
    return page->visit->asker_is_sure && is_true(page, 0, COLUMN_IS_OWN);
}

static bool way_is(const struct page *page, const char *way)
{
    return strcmp(value(page, 0, COLUMN_WAY), way) == 0;
}

static enum catalogue_word word_of_class(const char *class)
{
    static const struct {
        const char *class;
        enum catalogue_word word;
    } classes[] = {{"trap", WORD_TRAP}, {"backup", WORD_BACKUP}, {"address", WORD_ADDRESS_CLASS}, {"null-sender", WORD_NULL_SENDER}};

    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(class, classes[i].class) == 0)
            return classes[i].word;
    return WORD_OTHER_CLASS;
}

static enum catalogue_word word_of_outcome(const char *outcome)
{
    static const struct {
        const char *outcome;
        enum catalogue_word word;
    } outcomes[] = {{"removed", WORD_DID_REMOVED}, {"person", WORD_DID_PERSON}, {"name", WORD_DID_NAME},       {"gone", WORD_DID_GONE},
                    {"stale", WORD_DID_STALE},     {"open", WORD_DID_OPEN},     {"refused", WORD_DID_REFUSED}, {"busy", WORD_DID_BUSY}};

    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
        if (strcmp(outcome, outcomes[i].outcome) == 0)
            return outcomes[i].word;
    return WORD_WRONG_INSIDE;
}

static int status_of_outcome(enum catalogue_word outcome)
{
    return outcome == WORD_DID_PERSON || outcome == WORD_DID_NAME     ? 202
           : outcome == WORD_DID_STALE || outcome == WORD_DID_REFUSED ? 403
           : outcome == WORD_DID_BUSY                                 ? 429
           : outcome == WORD_WRONG_INSIDE                             ? 500
                                                                      : 200;
}

/* HTML */

/* WORD, with TEXT for its "$". */
static void put_word(const struct page *page, enum catalogue_word word, const char *text)
{
    for (const char *at = page->visit->words->words[word]; *at != '\0'; at++)
        if (*at == '$')
            html_text(page->out, text);
        else
            putc(*at, page->out);
}

static void put_element(const struct page *page, const char *element, enum catalogue_word word, const char *text)
{
    fprintf(page->out, "<%s>", element);
    put_word(page, word, text);
    fprintf(page->out, "</%s>\n", element);
}

static void put_heading(const struct page *page, enum catalogue_word word, const char *text)
{
    fputs("<section>\n", page->out);
    put_element(page, "h2", word, text);
}

/* "2026-11-27T14:00Z" as people write it. */
static void time_text(const char *time, char out[32])
{
    snprintf(out, 32, "%.10s %.5s UTC", time, strlen(time) > 11 ? time + 11 : "");
}

static void put_term(const struct page *page, enum catalogue_word word, const char *text)
{
    put_element(page, "dt", word, "");
    fputs("<dd>", page->out);
    html_text(page->out, text);
    fputs("</dd>\n", page->out);
}

static void put_listing(const struct page *page, size_t row)
{
    const char *class = value(page, row, COLUMN_CLASS);
    char since[32], until[32];

    time_text(value(page, row, COLUMN_SINCE), since);
    time_text(value(page, row, COLUMN_UNTIL), until);
    fputs("<dl>\n", page->out);
    put_element(page, "dt", WORD_WHAT_FOR, "");
    put_element(page, "dd", word_of_class(class), class);
    if (!is_true(page, row, COLUMN_IS_ALONE))
        put_element(page, "dd", WORD_NEIGHBOURS, "");
    put_element(page, "dt", WORD_PROOF, "");
    put_element(page, "dd", strcmp(value(page, row, COLUMN_PROOF), "witnessed") == 0 ? WORD_WITNESSED : WORD_INFERRED, "");
    put_element(page, "dt", WORD_ANSWER, "");
    put_element(page, "dd", is_true(page, row, COLUMN_IS_FIRM) ? WORD_FIRM : WORD_SOFT, "");
    put_term(page, WORD_SINCE, since);
    put_term(page, WORD_UNTIL, until);
    put_term(page, WORD_LAST_SEEN, value(page, row, COLUMN_LAST_SEEN));
    fputs("</dl>\n", page->out);
}

static void put_checks(const struct page *page)
{
    put_heading(page, WORD_CHECK, "");
    fputs("<ul>\n", page->out);
    for (int word = WORD_CHECK_PRIMARY; word <= WORD_CHECK_ADDRESSES; word++)
        put_element(page, "li", (enum catalogue_word)word, "");
    fputs("</ul>\n</section>\n", page->out);
}

/* A form that asks for removal, with TOKEN or none. */
static void put_request_form(const struct page *page, enum catalogue_word button, const char *token)
{
    fputs("<form method=\"post\" action=\"" DOOR_PATH "\">\n<p><input type=\"hidden\" name=\"" DOOR_ADDRESS "\" value=\"", page->out);
    html_text(page->out, value(page, 0, COLUMN_ADDRESS));
    fputs("\">", page->out);
    if (token != NULL) {
        fputs("<input type=\"hidden\" name=\"" DOOR_TOKEN "\" value=\"", page->out);
        html_text(page->out, token);
        fputs("\">", page->out);
    }
    fputs("<button>", page->out);
    put_word(page, button, value(page, 0, COLUMN_ADDRESS));
    fputs("</button></p>\n</form>\n", page->out);
}

/* What somebody who may ask can do. */
static void put_ways(const struct page *page)
{
    put_element(page, "p", way_is(page, "itself") ? WORD_OFF_MEANS : WORD_OFF_PERSON, "");
    if (is_own(page) && page->token == NULL) {
        put_element(page, "p", WORD_OFF_NOT_NOW, "");
    } else if (is_own(page)) {
        put_request_form(page, WORD_OFF_BUTTON, page->token);
    } else {
        put_element(page, "p", WORD_OFF_FROM_THERE, "");
        put_element(page, "p", WORD_OFF_BY_NAME, "");
        fputs("<p><code>", page->out);
        html_text(page->out, value(page, 0, COLUMN_CODE));
        fputs("</code></p>\n", page->out);
        if (way_is(page, "unproven"))
            put_element(page, "p", WORD_OFF_UNPROVEN, "");
        else
            put_request_form(page, WORD_OFF_BY_NAME_BUTTON, NULL);
    }
}

static void put_way_off(const struct page *page)
{
    char until[32];
    const char *latest = "";

    for (size_t row = 0; row < listing_count(page); row++)
        if (strcmp(value(page, row, COLUMN_UNTIL), latest) > 0)
            latest = value(page, row, COLUMN_UNTIL);
    time_text(latest, until);
    put_heading(page, WORD_OFF, "");
    put_element(page, "p", WORD_OFF_BY_TIME, until);
    if (way_is(page, "waiting"))
        put_element(page, "p", WORD_OFF_WAITING, "");
    else if (way_is(page, "refused"))
        put_element(page, "p", WORD_OFF_REFUSED, "");
    else if (!page->visit->asker_is_sure)
        put_element(page, "p", WORD_OFF_UNSURE, "");
    else
        put_ways(page);
    fputs("</section>\n", page->out);
}

static void put_look_up_form(const struct page *page)
{
    const char *address = value(page, 0, COLUMN_ADDRESS);

    if (*address == '\0' && page->visit->address != NULL)
        address = page->visit->address;
    fputs("<form method=\"get\" action=\"" DOOR_PATH "\">\n<p><label for=\"" DOOR_ADDRESS "\">", page->out);
    put_word(page, WORD_ADDRESS, "");
    fputs("</label> <input id=\"" DOOR_ADDRESS "\" name=\"" DOOR_ADDRESS "\" size=\"40\" autocomplete=\"off\" value=\"", page->out);
    html_text(page->out, address);
    fputs("\"> <button>", page->out);
    put_word(page, WORD_LOOK_UP, "");
    fputs("</button></p>\n</form>\n", page->out);
}

/* A link called WORD to TARGET, a mail address or a URL. */
static void put_link(const struct page *page, enum catalogue_word word, const char *target)
{
    if (*target == '\0')
        return;
    fputs("<p>", page->out);
    put_word(page, word, "");
    fprintf(page->out, ": <a href=\"%s", strstr(target, "://") == NULL ? "mailto:" : "");
    html_text(page->out, target);
    fputs("\">", page->out);
    html_text(page->out, target);
    fputs("</a></p>\n", page->out);
}

static void put_found(const struct page *page)
{
    const char *address = value(page, 0, COLUMN_ADDRESS);

    if (listing_count(page) == 0) {
        put_heading(page, WORD_NOT_LISTED, address);
        put_element(page, "p", WORD_NOT_LISTED_MORE, "");
        fputs("</section>\n", page->out);
        return;
    }
    put_heading(page, is_listed_now(page) ? WORD_LISTED : WORD_PAUSES, address);
    for (size_t row = 0; row < listing_count(page); row++)
        put_listing(page, row);
    fputs("</section>\n", page->out);
    put_checks(page);
    put_way_off(page);
}

static void write_html(const struct page *page)
{
    const struct catalogue *words = page->visit->words;

    html_begin_in(page->out, words->language, words->words[WORD_TITLE]);
    if (page->notice != WORD_COUNT) {
        fputs("<p class=\"notice\" role=\"status\">", page->out);
        put_word(page, page->notice, value(page, 0, COLUMN_ADDRESS));
        fputs("</p>\n", page->out);
    }
    put_look_up_form(page);
    if (*value(page, 0, COLUMN_ADDRESS) != '\0')
        put_found(page);
    put_link(page, WORD_CONTACT, value(page, 0, COLUMN_CONTACT));
    put_link(page, WORD_PRIVACY, value(page, 0, COLUMN_PRIVACY_URL));
    html_end(page->out);
}

/* JSON */

/* NAME: TEXT, or null when that is "".  All texts are printable ASCII or of a catalogue, without quotes and backslashes; what
 * else a database might hold does not get through. */
static void put_json(const struct page *page, const char *before, const char *name, const char *text)
{
    fprintf(page->out, "%s\"%s\": ", before, name);
    if (*text == '\0') {
        fputs("null", page->out);
        return;
    }
    putc('"', page->out);
    for (; *text != '\0'; text++)
        putc(*text == '"' || *text == '\\' || ((unsigned char)*text < 0x20) ? '?' : *text, page->out);
    putc('"', page->out);
}

/* What there is to say, or null. */
static void put_json_notice(const struct page *page)
{
    if (page->notice == WORD_COUNT) {
        put_json(page, ",\n ", "notice", "");
        return;
    }
    fputs(",\n \"notice\": \"", page->out);
    put_word(page, page->notice, value(page, 0, COLUMN_ADDRESS));
    putc('"', page->out);
}

static void put_json_flag(const struct page *page, const char *name, bool flag)
{
    fprintf(page->out, ", \"%s\": %s", name, flag ? "true" : "false");
}

static void put_json_listing(const struct page *page, size_t row)
{
    fputs(row == 0 ? "\n  {" : ",\n  {", page->out);
    put_json(page, "", "class", value(page, row, COLUMN_CLASS));
    put_json(page, ", ", "proof", value(page, row, COLUMN_PROOF));
    put_json(page, ", ", "since", value(page, row, COLUMN_SINCE));
    put_json(page, ", ", "until", value(page, row, COLUMN_UNTIL));
    put_json(page, ", ", "last_seen", value(page, row, COLUMN_LAST_SEEN));
    put_json_flag(page, "listed", is_true(page, row, COLUMN_IS_LISTED));
    put_json_flag(page, "firm", is_true(page, row, COLUMN_IS_FIRM));
    put_json_flag(page, "alone", is_true(page, row, COLUMN_IS_ALONE));
    putc('}', page->out);
}

static void write_json(const struct page *page)
{
    bool may_ask = page->visit->asker_is_sure && listing_count(page) > 0;

    putc('{', page->out);
    put_json(page, "", "address", value(page, 0, COLUMN_ADDRESS));
    put_json_flag(page, "listed", is_listed_now(page));
    put_json_notice(page);
    put_json(page, ", ", "outcome", page->outcome == NULL ? "" : page->outcome);
    fputs(",\n \"listings\": [", page->out);
    for (size_t row = 0; row < listing_count(page); row++)
        put_json_listing(page, row);
    putc(']', page->out);
    put_json(page, ",\n ", "removal", may_ask ? value(page, 0, COLUMN_WAY) : "");
    put_json(page, ", ", "token", may_ask && page->token != NULL ? page->token : "");
    put_json(page, ", ", "txt", may_ask ? value(page, 0, COLUMN_CODE) : "");
    put_json(page, ",\n ", "contact", value(page, 0, COLUMN_CONTACT));
    put_json(page, ", ", "privacy", value(page, 0, COLUMN_PRIVACY_URL));
    fputs("}\n", page->out);
}

static void write_page(const struct page *page)
{
    if (page->visit->json)
        write_json(page);
    else
        write_html(page);
}

/* What is asked of the database */

static const char *asker_text(const struct door_visit *visit, char out[IPADDR_TEXT_SIZE])
{
    return visit->asker_is_sure && visit->asker.family != 0 ? ipaddr_format(&visit->asker, out) : "";
}

static enum db_status ask(struct db *db, const char *sql, const char *const *texts, size_t count, struct db_result **result)
{
    return db == NULL ? DB_UNREACHABLE : db_query_texts(db, DOOR_TIMEOUT_MS, sql, texts, count, result);
}

/* A token when who asks is the address, and it can be of use.  A standby gives none. */
static enum db_status get_token(struct db *db, const struct page *page, struct db_result **token)
{
    const char *texts[] = {value(page, 0, COLUMN_ADDRESS)};
    enum db_status status;

    if (listing_count(page) == 0 || !is_own(page) || way_is(page, "waiting") || way_is(page, "refused"))
        return DB_OK;
    status = ask(db, "SELECT hunnypot.door_token($1::inet)", texts, 1, token);
    return status == DB_READ_ONLY ? DB_OK : status;
}

/* Look ADDRESS up ("": none), and write the page. */
static enum db_status look_up_and_write(struct db *db, struct page *page, const char *address, int *http_status)
{
    static const char sql[] = "SELECT * FROM hunnypot.door_look_up(nullif($1, '')::inet, nullif($2, '')::inet)";
    char asker[IPADDR_TEXT_SIZE];
    const char *texts[] = {address, asker_text(page->visit, asker)};
    struct db_result *found = NULL, *token = NULL;
    enum db_status status = ask(db, sql, texts, 2, &found);

    page->found = found;
    if (status == DB_OK)
        status = get_token(db, page, &token);
    if (status == DB_OK) {
        page->token = token == NULL ? NULL : db_value(token, 0, 0);
        write_page(page);
    } else {
        *http_status = 503;
        door_refuse(page->visit, *http_status, page->out);
    }
    db_result_free(&token);
    db_result_free(&found);
    return status;
}

/* The address that is asked for, as text; "" when there is none, and *IS_WRONG when it is none. */
static const char *address_text(const struct door_visit *visit, char out[IPADDR_TEXT_SIZE], bool *is_wrong)
{
    struct ipaddr address;

    *is_wrong = false;
    if (visit->address == NULL || *visit->address == '\0')
        return "";
    *is_wrong = !ipaddr_parse(visit->address, &address);
    return *is_wrong ? "" : ipaddr_format(&address, out);
}

enum db_status door_look_up(struct db *db, const struct door_visit *visit, FILE *out, int *http_status)
{
    struct page page = {.out = out, .visit = visit, .notice = WORD_COUNT};
    char text[IPADDR_TEXT_SIZE];
    bool is_wrong;
    const char *address = address_text(visit, text, &is_wrong);

    *http_status = is_wrong ? 400 : 200;
    if (is_wrong)
        page.notice = WORD_WRONG_ADDRESS;
    return look_up_and_write(db, &page, address, http_status);
}

enum db_status door_ask_removal(struct db *db, const struct door_visit *visit, FILE *out, int *http_status)
{
    struct page page = {.out = out, .visit = visit, .notice = WORD_WRONG_ADDRESS};
    char text[IPADDR_TEXT_SIZE], asker[IPADDR_TEXT_SIZE], outcome[16];
    bool is_wrong;
    const char *address = address_text(visit, text, &is_wrong);
    const char *texts[] = {address, asker_text(visit, asker), visit->token == NULL ? "" : visit->token};
    struct db_result *result = NULL;
    enum db_status status;

    *http_status = 400;
    if (*address == '\0')
        return look_up_and_write(db, &page, address, http_status);
    if (*texts[1] == '\0') {
        page.notice = WORD_OFF_UNSURE;
        *http_status = 403;
        return look_up_and_write(db, &page, address, http_status);
    }
    status = ask(db, "SELECT hunnypot.door_ask($1::inet, $2::inet, $3)", texts, 3, &result);
    if (status == DB_OK) {
        snprintf(outcome, sizeof outcome, "%s", db_value(result, 0, 0));
        page.outcome = outcome;
        page.notice = word_of_outcome(outcome);
        *http_status = status_of_outcome(page.notice);
    }
    db_result_free(&result);
    if (status == DB_OK)
        return look_up_and_write(db, &page, address, http_status);
    *http_status = 503;
    door_refuse(visit, *http_status, out);
    return status;
}

void door_refuse(const struct door_visit *visit, int http_status, FILE *out)
{
    static const struct {
        int status;
        enum catalogue_word word;
    } refusals[] = {{400, WORD_WRONG_REQUEST}, {404, WORD_WRONG_PATH},  {405, WORD_WRONG_METHOD}, {413, WORD_WRONG_SIZE},
                    {414, WORD_WRONG_SIZE},    {429, WORD_WRONG_OFTEN}, {503, WORD_WRONG_LATER}};
    struct page page = {.out = out, .visit = visit, .notice = WORD_WRONG_INSIDE};

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].status == http_status)
            page.notice = refusals[i].word;
    write_page(&page);
}
