#include "report/html.h"

#include <stdlib.h>

#include "base/text.h"

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
    ":root{color-scheme:light dark;--back:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--s0:#c4501b;--s1:#0b66a8;--s2:#9a6a00;"
    "--s3:#6e7781}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#14181d;--ink:#e6edf3;--soft:#9aa4af;--line:#39414a;--s0:#f08a5d;--s1:#63b3ed;"
    "--s2:#e3b341;--s3:#9aa4af}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--back);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 0}p{margin:.25rem 0 .75rem;color:var(--soft)}\n"
    "svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:var(--soft)}\n"
    ".grid{stroke:var(--line);stroke-width:1}.s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}\n"
    ".key{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.5rem 0;padding:0;list-style:none}\n"
    ".key svg{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem}\n"
    ".rows{overflow:auto;max-height:16rem;margin-top:.5rem;border-top:1px solid var(--line)}\n"
    "table{border-collapse:collapse;width:100%;font-size:.875rem}caption{text-align:left;color:var(--soft)}\n"
    "th,td{padding:.15rem .75rem .15rem 0;text-align:left;border-bottom:1px solid var(--line)}\n"
    "td{font-variant-numeric:tabular-nums}\n"
    "@media print{body{max-width:none;padding:0}.rows{overflow:visible;max-height:none}section{break-inside:avoid-page}"
    "svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n";

void html_begin(FILE *out, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>",
          out);
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

static void put_heading(FILE *out, const char *name)
{
    fputs("<th scope=\"col\">", out);
    for (; *name != '\0'; name++)
        putc(*name == '_' ? ' ' : *name, out);
    fputs("</th>", out);
}

void html_table(FILE *out, const char *caption, const struct db_result *result)
{
    /* It scrolls, so it must be reached by keys. */
    fprintf(out, "<div class=\"rows\" tabindex=\"0\" role=\"region\" aria-label=\"%s\">\n<table>\n<caption>%s</caption>\n<thead><tr>",
            caption, caption);
    for (size_t i = 0; i < db_columns(result); i++)
        put_heading(out, db_column_name(result, i));
    fputs("</tr></thead>\n<tbody>\n", out);
    for (size_t row = 0; row < db_rows(result); row++) {
        fputs("<tr>", out);
        for (size_t i = 0; i < db_columns(result); i++) {
            fputs(i == 0 ? "<th scope=\"row\">" : "<td>", out);
            html_text(out, db_value(result, row, i));
            fputs(i == 0 ? "</th>" : "</td>", out);
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody>\n</table>\n</div>\n", out);
}
