#include "report/html.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const char *const pages[] = {"network", "domain", "sensor", "witness"};

void html_text(FILE *out, const char *text)
{
    enum { TEXT_MAX = 1000 };
    char *printable = text_printable_new(text, TEXT_MAX);

    for (const char *at = printable; *at != '\0'; at++)
        if (*at == '&')
            fputs("&amp;", out);
        else if (*at == '<')
            fputs("&lt;", out);
        else if (*at == '>')
            fputs("&gt;", out);
        else if (*at == '"')
            fputs("&quot;", out);
        else if (*at == '\'')
            fputs("&#39;", out);
        else
            putc(*at, out);
    free(printable);
}

/* Nothing is told by colour alone: each shape has its title, and each number its place in a table. */
static const char style[] =
    ":root{color-scheme:light"
    " dark;--back:#fff;--card:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--ground:#eef1f4;--link:#0b5cad;"
    "--s0:#c4501b;--s1:#0b66a8;--s2:#a86e00;--s3:#6e7781}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#0f1318;--card:#161b22;--ink:#e6edf3;--soft:#9aa4af;--line:#2b333c;--ground:#222a33;"
    "--link:#79b8ff;--s0:#f08a5d;--s1:#63b3ed;--s2:#e3b341;--s3:#8b949e}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:64rem;background:var(--back);color:var(--ink);"
    "font:16px/1.5 system-ui,'Noto Sans',sans-serif}\n"
    "h1{font-size:1.6rem;margin:.5rem 0 0;letter-spacing:-.01em}h2{font-size:1.1rem;margin:0}p{margin:.25rem 0"
    " .75rem;color:var(--soft)}\n"
    "a{color:var(--link)}svg a text{fill:var(--link);text-decoration:underline}\n"
    "section{margin:1rem 0;padding:1rem 1.25rem;border:1px solid var(--line);border-radius:.6rem;background:var(--card)}\n"
    "svg{display:block;width:100%;height:auto;font:12.5px system-ui,'Noto Sans',sans-serif}svg text{fill:var(--soft)}\n"
    ".grid{stroke:var(--line);stroke-width:1}.ground{fill:var(--ground)}.node{fill:var(--ink)}.flow{fill-opacity:.45}"
    ".flow:hover{fill-opacity:.75}\n"
    ".flows text{fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-opacity:.8;stroke-width:4px;stroke-linejoin:round}\n"
    ".s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}\n"
    ".key{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.5rem 0 0;padding:0;list-style:none;font-size:.875rem}\n"
    ".key svg{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem 1.25rem;margin:0}"
    ".tiles div{display:flex;flex-direction:column-reverse;justify-content:flex-end}.tiles"
    " dt{color:var(--soft);font-size:.875rem}"
    ".tiles dd{margin:0;font-size:1.5rem;font-weight:600;line-height:1.3;overflow-wrap:anywhere}.tiles"
    " dd.words{font-size:1rem;line-height:1.9}\n"
    ".wide{overflow-x:auto}details{margin-top:.75rem}summary{cursor:pointer;color:var(--soft);font-size:.875rem}\n"
    ".rows{overflow:auto;max-height:18rem;margin-top:.5rem;border-top:1px solid var(--line)}\n"
    "table{border-collapse:collapse;width:100%;font-size:.875rem}caption{text-align:left;color:var(--soft)}\n"
    "th,td{padding:.2rem .75rem .2rem 0;text-align:left;border-bottom:1px solid var(--line)}\n"
    "td{font-variant-numeric:tabular-nums}footer{color:var(--soft);font-size:.875rem}\n"
    "@media(max-width:40rem){body{padding:.5rem}section{padding:.75rem}svg{font-size:24px}.flows{min-width:44rem;font-size:14px}}\n"
    "form{margin:.75rem 0}input,button{font:inherit;max-width:100%;padding:.3rem .5rem}dt{margin-top:.5rem;color:var(--soft)}dd{margin:0}\n"
    "li{margin:.25rem 0}a{color:var(--s1)}code{overflow-wrap:anywhere;color:var(--ink)}\n"
    ".notice{padding:.5rem .75rem;border-left:.3rem solid var(--s0);color:var(--ink)}\n"
    "@media"
        ""
            " print{:root{--back:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--ground:#eee;--s0:#c4501b;--s1:#0b66a8;--s2:#a86e00;--s3:#6e7781}"
    "body{max-width:none;padding:0}.rows{overflow:visible;max-height:none}section{break-inside:avoid-page;border-width:0 0"
    " 1px;border-radius:0}"
    "details::details-content{content-visibility:visible;display:block}summary{display:none}"
    "svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n";

static void put_head(FILE *out, const char *language)
{
    fprintf(out, "<!DOCTYPE html>\n<html lang=\"%s\">\n<head>\n<meta charset=\"utf-8\">\n", language);
    fputs("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n", out);
}

void html_begin_in(FILE *out, const char *language, const char *title)
{
    put_head(out, language);
    fprintf(out, "<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>%s</h1>\n", title, style, title);
}

void html_begin(FILE *out, const char *title)
{
    put_head(out, "en");
    fputs("<title>", out);
    html_text(out, title);
    fprintf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", style);
    html_text(out, title);
    fputs("</h1>\n", out);
}

void html_end(FILE *out)
{
    fputs("</main>\n</body>\n</html>\n", out);
}

void html_section_begin(FILE *out, const char *title, const char *words)
{
    fprintf(out, "<section>\n<h2>%s</h2>\n<p>%s</p>\n", title, words);
}

void html_section_end(FILE *out)
{
    fputs("</section>\n", out);
}

/* The name of a column as words. */
static void put_words(FILE *out, const char *name)
{
    for (; *name != '\0'; name++)
        putc(*name == '_' ? ' ' : *name, out);
}

void html_parameter(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=", name);
    for (; *value != '\0'; value++)
        if (isalnum((unsigned char)*value) || strchr("-._~", *value) != NULL)
            fputc(*value, out);
        else
            fprintf(out, "%%%02X", (unsigned char)*value);
}

/* The page that the first column of ROW leads to; NULL for none. */
static const char *page_of(const struct db_result *result, size_t row, const char **name)
{
    for (size_t i = 0; i < db_columns(result); i++)
        for (size_t page = 0; page < sizeof pages / sizeof *pages; page++)
            if (db_column_name(result, i)[0] == '_' && strcmp(db_column_name(result, i) + 1, pages[page]) == 0 &&
                db_value(result, row, i) != NULL) {
                *name = db_value(result, row, i);
                return pages[page];
            }
    return NULL;
}

void html_link_begin(FILE *out, const struct db_result *result, size_t row, const char *zone)
{
    const char *name, *page = zone != NULL ? page_of(result, row, &name) : NULL;

    if (page == NULL)
        return;
    fprintf(out, "<a href=\"%s?", page);
    html_parameter(out, "of", name);
    html_parameter(out, "&amp;tz", zone);
    fputs("\">", out);
}

void html_link_end(FILE *out, const struct db_result *result, size_t row, const char *zone)
{
    const char *name;

    if (zone != NULL && page_of(result, row, &name) != NULL)
        fputs("</a>", out);
}

/* NUMBER with a narrow blank between thousands. */
static void put_number(FILE *out, const char *number)
{
    for (size_t left = strlen(number); left > 0; left--) {
        fputc(*number++, out);
        if (left % 3 == 1 && left > 1)
            fputs("&#8239;", out);
    }
}

void html_tiles(FILE *out, const char *caption, const struct db_result *result, const char *zone)
{
    (void)caption;
    (void)zone;
    fputs("<dl class=\"tiles\">\n", out);
    for (size_t i = 0; db_rows(result) > 0 && i < db_columns(result); i++) {
        const char *value = db_value(result, 0, i) != NULL ? db_value(result, 0, i) : "-";
        bool number = *value != '\0' && strspn(value, "0123456789") == strlen(value);

        if (db_column_name(result, i)[0] == '_')
            continue;
        fputs("<div><dt>", out);
        put_words(out, db_column_name(result, i));
        fprintf(out, "</dt><dd%s>", number ? "" : " class=\"words\"");
        if (number)
            put_number(out, value);
        else
            html_text(out, value);
        fputs("</dd></div>\n", out);
    }
    fputs("</dl>\n", out);
}

static void put_row(FILE *out, const struct db_result *result, size_t row, const char *zone)
{
    fputs("<tr>", out);
    for (size_t i = 0; i < db_columns(result); i++) {
        if (db_column_name(result, i)[0] == '_')
            continue;
        fputs(i == 0 ? "<th scope=\"row\">" : "<td>", out);
        if (i == 0)
            html_link_begin(out, result, row, zone);
        html_text(out, db_value(result, row, i));
        if (i == 0)
            html_link_end(out, result, row, zone);
        fputs(i == 0 ? "</th>" : "</td>", out);
    }
    fputs("</tr>\n", out);
}

void html_table(FILE *out, const char *caption, const struct db_result *result, const char *zone, bool open)
{
    /* It scrolls, so it must be reached by keys. */
    fprintf(out, "<details%s>\n<summary>%s: the numbers</summary>\n<div class=\"rows\" tabindex=\"0\" role=\"region\""
                 " aria-label=\"%s\">\n"
            "<table>\n<caption>%s</caption>\n<thead><tr>", open ? " open" : "", caption, caption, caption);
    for (size_t i = 0; i < db_columns(result); i++)
        if (db_column_name(result, i)[0] != '_') {
            fputs("<th scope=\"col\">", out);
            put_words(out, db_column_name(result, i));
            fputs("</th>", out);
        }
    fputs("</tr></thead>\n<tbody>\n", out);
    for (size_t row = 0; row < db_rows(result); row++)
        put_row(out, result, row, zone);
    fputs("</tbody>\n</table>\n</div>\n</details>\n", out);
}
