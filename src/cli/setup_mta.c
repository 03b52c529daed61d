/* setup_mta.c - what `hunnypot setup` makes of a mail server's configuration: a service of its own for the trap. */

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/interfaces.h"
#include "base/text.h"
#include "cli/file.h"
#include "cli/setup.h"
#include "cli/shell.h"

static const char master_path[] = "/etc/postfix/master.cf";
static const char mc_path[] = "/etc/mail/sendmail.mc", cf_path[] = "/etc/mail/sendmail.cf";
static const char feature_path[] = "/usr/share/sendmail/cf/feature/hunnypot.m4";
static const char unit_path[] = "/etc/systemd/system/hunnypot-milter.service.d/setup.conf";

/* Is WORD, which the mail server's list says, DOMAIN?  A table is asked by Postfix' own program. */
static bool means_domain(const char *word, const char *domain)
{
    char *quoted, *command, *answer, name[DOMAIN_MAX + 1];
    bool means = domain_normalize(word, name) && strcmp(name, domain) == 0;

    if (means || strchr(word, ':') == NULL)
        return means;
    quoted = shell_quote(word);
    command = alloc_format("postmap -q %s %s 2>/dev/null", domain, quoted);
    answer = shell_output(command, NULL);
    means = *answer != '\0';
    free(answer);
    free(command);
    free(quoted);
    return means;
}

/* The first domain of SETUP that WORD means, or NULL. */
static const char *domain_of_word(const struct setup *setup, const char *word)
{
    for (size_t i = 0; i < setup->domain_count; i++)
        if (means_domain(word, setup->domains[i].name))
            return setup->domains[i].name;
    return NULL;
}

static const char separators[] = ", \t\n";

/* The domain of SETUP that is in TEXT, a file of words and comments, or NULL. */
static const char *domain_in_file(const struct setup *setup, char *text)
{
    const char *found = NULL;
    char *word;

    for (char *hash = strchr(text, '#'); hash != NULL; hash = strchr(hash, '#'))
        memset(hash, ' ', strcspn(hash, "\n"));
    while (found == NULL && (word = strsep(&text, separators)) != NULL)
        if (*word != '\0')
            found = domain_of_word(setup, word);
    return found;
}

/* The domain of SETUP that is in LIST (of words), or NULL.  A word that is a path stands for what is in that file. */
static const char *domain_in(const struct setup *setup, const char *list)
{
    const char *found = NULL;
    char *copy = alloc_text(list), *rest = copy, *word, *inside;

    while (found == NULL && (word = strsep(&rest, separators)) != NULL) {
        if (*word == '/' && file_read(word, &inside) == CLI_OK) {
            found = domain_in_file(setup, inside);
            free(inside);
        } else if (*word != '\0') {
            found = domain_of_word(setup, word);
        }
    }
    free(copy);
    return found;
}

static int refuse_delivered(const struct setup *setup, const char *what, const char *list)
{
    const char *domain = domain_in(setup, list);

    return domain == NULL ? CLI_OK
                          : cli_fail("%s is delivered by this host (%s); a trap for it would lose its mail", domain, what);
}

/* The names that the trap is for, with SEPARATOR between them. */
static char *domain_list(const struct setup *setup, char separator)
{
    char *list;
    size_t size;
    FILE *stream = alloc_text_begin(&list, &size);

    for (size_t i = 0; i < setup->domain_count; i++)
        fprintf(stream, "%.*s%s", i > 0 ? 1 : 0, &separator, setup->domains[i].name);
    alloc_text_end(stream);
    return list;
}

/* A file that came with the program, for a file that is ours as a whole. */
static int take_shipped(struct setup_change *change, const char *name)
{
    char *path = cli_data_path(name);
    int status = file_read(path, &change->new);

    free(path);
    if (status == CLI_OK && change->old != NULL && change->written == NULL && strcmp(change->old, change->new) != 0) {
        setup_file_show(change);
        status = cli_fail("%s: is there already, and is not what setup would write (above); move it away first", change->path);
    }
    return status;
}

/* Postfix */

static char *postconf(const char *name)
{
    char *command = alloc_format("postconf -xh %s 2>/dev/null", name), *value = shell_output(command, NULL);

    value[strcspn(value, "\n")] = '\0';
    free(command);
    return value;
}

static int refuse_what_postfix_delivers(const struct setup *setup)
{
    static const char *const lists[] = {"mydestination", "virtual_mailbox_domains", "virtual_alias_domains"};
    int status = CLI_OK;

    for (size_t i = 0; i < sizeof lists / sizeof *lists && status == CLI_OK; i++) {
        char *value = postconf(lists[i]);

        status = refuse_delivered(setup, lists[i], value);
        free(value);
    }
    return status;
}

/* What is known of this host when a word of its configuration is looked at. */
struct own {
    const struct setup *setup;
    const char *myhostname;
};

static bool is_of_trap(const struct own *own, const char *word)
{
    return domain_in(own->setup, word) != NULL;
}

/* A word of mydestination that is the host itself, to which nobody else writes. */
static bool is_host_itself(const struct own *own, const char *word)
{
    return strcasecmp(word, own->myhostname) == 0 || strncasecmp(word, "localhost", 9) == 0 ||
           strcasecmp(word, "localdomain") == 0;
}

struct host_search {
    struct ipaddr address;
    bool found;
};

static void find_own(void *context, const struct ipaddr *address)
{
    struct host_search *search = context;

    search->found = search->found || ipaddr_equal(&search->address, address);
}

/* A network of mynetworks, "[2001:db8::]/32", as "2001:db8::/32"; an interface's name ("[fe80::1%eth0]/128") is left out. */
static bool parse_network(const char *word, struct ipnet *net)
{
    char *copy = alloc_text(word), *to = copy;
    bool parsed;

    for (const char *from = copy; *from != '\0';) {
        if (*from == '%')
            from += strcspn(from, "]/");
        else if (*from == '[' || *from == ']')
            from++;
        else
            *to++ = *from++;
    }
    *to = '\0';
    parsed = ipnet_parse(copy, net);
    free(copy);
    return parsed;
}

/* A word of mynetworks that lets in nobody but this host: loopback, an address of its own, or an exception. */
static bool is_own_network(const struct own *own, const char *word)
{
    static const struct ipaddr loopback = {.family = 6, .bytes = {[15] = 1}}; /* on no interface where IPv6 is off */
    struct host_search search = {.found = false};
    struct ipnet net;

    (void)own;
    if (*word == '!' || !parse_network(word, &net))
        return *word == '!';
    net = ipnet_client(&net, NULL, 0);
    if (net.address.family == 4 && net.address.bytes[0] == 127)
        return true;
    if (net.bits != ipnet_alone(&net.address).bits)
        return false;
    search.address = net.address;
    return ipaddr_equal(&net.address, &loopback) || (interfaces_read(find_own, &search) && search.found);
}

static bool is_no(const struct own *own, const char *word)
{
    (void)own;
    return strcasecmp(word, "no") == 0;
}

/* A word of restrictions that lets nobody send to others but those whom the settings above it in the table let. */
static bool lets_nobody_else(const struct own *own, const char *word)
{
    static const char *const known[] = {"permit_mynetworks", "permit_sasl_authenticated", "permit_auth_destination",
                                        "permit_inet_interfaces"};
    bool lets = strncasecmp(word, "permit", 6) == 0 || strncasecmp(word, "check_", 6) == 0;

    (void)own;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        lets = lets && strcasecmp(word, known[i]) != 0;
    return !lets;
}

/* The setting by which Postfix takes mail for others, or from them, as "name = value", or NULL; the caller frees. */
static char *other_setting(const struct setup *setup)
{
    static const struct {
        const char *name;
        bool (*is_harmless)(const struct own *own, const char *word); /* NULL: no word is */
    } lists[] = {{"relay_domains", is_of_trap},
                 {"mydestination", is_host_itself},
                 {"virtual_mailbox_domains", NULL},
                 {"virtual_alias_domains", NULL},
                 {"smtpd_milters", NULL},
                 {"mynetworks", is_own_network},
                 {"smtpd_sasl_auth_enable", is_no},
                 {"smtpd_relay_restrictions", lets_nobody_else},
                 {"smtpd_recipient_restrictions", lets_nobody_else}};
    char *found = NULL, *myhostname = postconf("myhostname");
    const struct own own = {.setup = setup, .myhostname = myhostname};

    for (size_t i = 0; i < sizeof lists / sizeof *lists && found == NULL; i++) {
        char *value = postconf(lists[i].name), *copy = alloc_text(value), *rest = copy, *word;

        while (found == NULL && (word = strsep(&rest, ", \t")) != NULL)
            if (*word != '\0' && (lists[i].is_harmless == NULL || !lists[i].is_harmless(&own, word)))
                found = alloc_format("%s = %s", lists[i].name, value);
        free(copy);
        free(value);
    }
    free(myhostname);
    return found;
}

/* The first of SETUP's addresses at which a service at HOST, an address or a name, listens, or NULL.  *KNOWN: HOST has any. */
static const struct ipaddr *address_at(const struct setup *setup, const char *host, bool *known)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    const struct ipaddr *at = NULL;
    struct ipaddr address, any = {.family = 0};

    *known = getaddrinfo(host, NULL, &hints, &all) == 0;
    if (!*known)
        return NULL;
    for (const struct addrinfo *one = all; one != NULL; one = one->ai_next)
        for (size_t i = 0; at == NULL && ipaddr_from_sockaddr(one->ai_addr, &address, NULL) && i < setup->address_count; i++) {
            any.family = setup->addresses[i].family;
            if (ipaddr_equal(&address, &setup->addresses[i]) || ipaddr_equal(&address, &any))
                at = &setup->addresses[i];
        }
    freeaddrinfo(all);
    return at;
}

/* HOST, as Postfix writes it, without the brackets of an address. */
static char *without_brackets(char *host)
{
    size_t length = strlen(host);

    if (length < 2 || *host != '[' || host[length - 1] != ']')
        return host;
    host[length - 1] = '\0';
    return host + 1;
}

/* The addresses of LIST (inet_interfaces) are among those of SETUP, or it names all.  A name that cannot be told may be one. */
static bool listens_there(const struct setup *setup, const char *list)
{
    char *copy = alloc_text(list), *rest = copy, *word;
    bool listens = false, known;

    while (!listens && (word = strsep(&rest, ", \t")) != NULL)
        if (strcmp(word, "all") == 0)
            listens = true;
        else if (*word != '\0' && strcmp(word, "loopback-only") != 0)
            listens = address_at(setup, without_brackets(word), &known) != NULL || !known;
    free(copy);
    return listens;
}

/* How a line of master.cf names ADDRESS. */
static char *endpoint(const struct ipaddr *address)
{
    char text[IPADDR_TEXT_SIZE];

    ipaddr_format(address, text);
    return alloc_format(strchr(text, ':') != NULL ? "[%s]:smtp" : "%s:smtp", text);
}

static char *next_line(const char *text)
{
    text += strcspn(text, "\n");
    return (char *)text + (*text == '\n');
}

/* The first entry of TEXT, a master.cf, with *END behind its last line; or NULL. */
static char *next_entry(char *text, char **end)
{
    while (*text == ' ' || *text == '\t' || *text == '#' || *text == '\n')
        text = next_line(text);
    if (*text == '\0')
        return NULL;
    *end = next_line(text);
    /* What begins with a blank goes on; comments and empty lines may stand between. */
    for (char *line = *end; *line == ' ' || *line == '\t' || *line == '#' || *line == '\n'; line = next_line(line))
        if (*line == ' ' || *line == '\t')
            *end = next_line(line);
    return text;
}

enum { ENTRY_WORD_MAX = 300 };

/* Is ENTRY one that listens at SMTP's port?  HOST gets what it says before that, "" for inet_interfaces. */
static bool is_smtp(const char *entry, char host[ENTRY_WORD_MAX])
{
    char type[8], *colon;
    const char *port = host;

    if (sscanf(entry, "%299s %7s", host, type) != 2 || strcmp(type, "inet") != 0)
        return false;
    if ((colon = strrchr(host, ':')) != NULL)
        port = colon + 1;
    /* "mail" is another name of it in /etc/services. */
    if (strcmp(port, "smtp") != 0 && strcmp(port, "mail") != 0 && strtol(port, NULL, 10) != 25)
        return false;
    *(colon != NULL ? colon : host) = '\0';
    return true;
}

/* The entry of TEXT that listens at SMTP's port of inet_interfaces, as next_entry(). */
static char *find_smtp(char *text, char **end)
{
    char host[ENTRY_WORD_MAX], *entry = next_entry(text, end);

    while (entry != NULL && !(is_smtp(entry, host) && *host == '\0'))
        entry = next_entry(*end, end);
    return entry;
}

/* The first -o option in the lines from ENTRY to END, or NULL; the caller frees. */
static char *first_option(const char *entry, const char *end)
{
    char *found = NULL;

    for (const char *line = entry; line < end && found == NULL; line = next_line(line)) {
        char *copy = alloc_format("%.*s", (int)strcspn(line, "\n"), line);

        if (copy[strspn(copy, " \t")] != '#')
            for (const char *at = strstr(copy, "-o"); at != NULL && found == NULL; at = strstr(at + 1, "-o"))
                if (at > copy && strchr(" \t{", at[-1]) != NULL)
                    found = alloc_text(at);
        free(copy);
    }
    return found;
}

/* What the service of ENTRY does otherwise than main.cf says, or NULL; the caller frees.  Behind postscreen it is smtpd's. */
static char *other_option(char *base, const char *entry, const char *entry_end)
{
    char *option = first_option(entry, entry_end), *end, *found;
    char name[ENTRY_WORD_MAX], type[8];

    for (char *at = next_entry(base, &end); at != NULL && option == NULL; at = next_entry(end, &end))
        if (sscanf(at, "%299s %7s", name, type) == 2 && strcmp(type, "pass") == 0)
            option = first_option(at, end);
    found = option == NULL ? NULL : alloc_format("its service in %s has %s", master_path, option);
    free(option);
    return found;
}

/* The lines of ENTRY behind its first, of the shipped master.cf, without comments. */
static void put_options(FILE *stream, const char *entry, const char *end, const char *domains)
{
    static const char relay[] = "  -o relay_domains=";

    for (const char *line = next_line(entry); line < end; line = next_line(line)) {
        if (*line == '#' || *line == '\n')
            continue;
        if (strncmp(line, relay, strlen(relay)) == 0)
            fprintf(stream, "%s%s\n", relay, domains);
        else
            fprintf(stream, "%.*s\n", (int)strcspn(line, "\n"), line);
    }
}

/* Where the entry that begins at ENTRY of the shipped file ends: before the next line that is none of its own. */
static const char *entry_end(const char *entry)
{
    const char *end = next_line(entry);

    while (*end == ' ' || *end == '#' || *end == '\n')
        end = next_line(end);
    return end;
}

/* Our services, made from SHIPPED.  OWN: with one for the host's own programs. */
static char *postfix_services(const struct setup *setup, const char *shipped, bool own)
{
    char *domains = domain_list(setup, ','), *body;
    size_t size;
    FILE *stream = alloc_text_begin(&body, &size);

    fputs("# What each option is for, says " HP_DATADIR "/postfix/master.cf.\n", stream);
    for (const char *at = shipped; *at != '\0'; at = next_line(at)) {
        const char *end = entry_end(at);
        size_t name = strcspn(at, " \t\n");
        bool trap = strncmp(at, "smtp ", 5) == 0;

        if (*at == '#' || *at == ' ' || *at == '\n' || (!own && strncmp(at, "localhost:smtp ", 15) == 0))
            continue;
        for (size_t i = 0; i < (trap ? setup->address_count : 1); i++) {
            char *place = trap ? endpoint(&setup->addresses[i]) : alloc_format("%.*s", (int)name, at);

            fprintf(stream, "%s %.*s\n", place, (int)(strcspn(at, "\n") - name), at + name);
            put_options(stream, at, end, domains);
            free(place);
        }
    }
    alloc_text_end(stream);
    free(domains);
    return body;
}

/* Somebody else's service at one of our addresses. */
static int refuse_taken(const struct setup *setup, char *base)
{
    char host[ENTRY_WORD_MAX], text[IPADDR_TEXT_SIZE], *end;

    for (const char *entry = next_entry(base, &end); entry != NULL; entry = next_entry(end, &end)) {
        const struct ipaddr *at;
        int name = (int)strcspn(entry, " \t\n");
        bool known;

        if (!is_smtp(entry, host) || *host == '\0')
            continue;
        at = address_at(setup, without_brackets(host), &known);
        if (!known)
            return cli_fail("%s has a service at %.*s, of which there is no address to be found; give it one", master_path,
                            name, entry);
        if (at != NULL)
            return cli_fail("%s has a service at %s already (%.*s); give the trap another --address, or that service one of its"
                            " own", master_path, ipaddr_format(at, text), name, entry);
    }
    return CLI_OK;
}

/* The service that the trap is to take the place of, from ENTRY to END of BASE, takes mail that would be lost. */
static int refuse_other_mail(const struct setup *setup, char *base, const char *entry, const char *end)
{
    char *other = other_setting(setup);
    int status = CLI_OK;

    if (other == NULL)
        other = other_option(base, entry, end);
    if (other != NULL)
        status = cli_fail("this Postfix takes other mail at the trap's address (%s); change that when nobody needs it, else"
                          " take an address out of inet_interfaces, and give it to the trap by --address", other);
    free(other);
    return status;
}

static int make_master(const struct setup *setup, struct setup_change *change, char *shipped)
{
    char *end = NULL, *entry = find_smtp(change->base, &end), *interfaces = postconf("inet_interfaces");
    char *was = alloc_text(""), *body, *block;
    bool replaces = entry != NULL && listens_there(setup, interfaces);
    int status = refuse_taken(setup, change->base);

    free(interfaces);
    if (status == CLI_OK && replaces)
        status = refuse_other_mail(setup, change->base, entry, end);
    if (status == CLI_OK && replaces) {
        free(was);
        was = alloc_format("%.*s", (int)(end - entry), entry);
    }
    if (!replaces) {
        size_t length = strlen(change->base);

        entry = end = change->base + length;
    }
    if (status == CLI_OK) {
        body = postfix_services(setup, shipped, replaces);
        block = setup_file_block(change, body, was);
        change->new = alloc_format("%.*s%s%s", (int)(entry - change->base), change->base, block, end);
        free(block);
        free(body);
    }
    free(was);
    return status;
}

static int prepare_postfix(const struct setup *setup, struct setup_change *change)
{
    char *path = cli_data_path("postfix/master.cf"), *shipped = NULL;
    int status = setup_file_open(change, master_path, "#");

    if (status == CLI_OK && change->old == NULL)
        status = cli_fail("%s: there is no such file; install Postfix first", master_path);
    if (status == CLI_OK && !setup->undo) {
        size_t length = strlen(change->base);

        if (length > 0 && change->base[length - 1] != '\n')
            status = cli_fail("%s: the last line has no end", master_path);
        if (status == CLI_OK)
            status = refuse_what_postfix_delivers(setup);
        if (status == CLI_OK && (status = file_read(path, &shipped)) == CLI_OK)
            status = make_master(setup, change, shipped);
        free(shipped);
    }
    free(path);
    return status;
}

/* sendmail */

/* What it delivers itself, as sendmail has it. */
static int refuse_what_sendmail_delivers(const struct setup *setup)
{
    static const char ask[] = "printf '$=w\\n$={VirtHost}\\n' | sendmail -bt -C /etc/mail/sendmail.cf 2>&1";
    int asked, status;
    char *members = shell_output(ask, &asked);

    /* Behind its prompt. */
    for (char *c = members; *c != '\0'; c++)
        if (*c == '>')
            *c = ' ';
    status = asked != 0 ? cli_fail("sendmail does not read %s: %s", cf_path, members)
                        : refuse_delivered(setup, "class w or VirtHost", members);
    free(members);
    return status;
}

/* Daemons of others are fine where only the host's own programs reach them: FEATURE(`hunnypot') changes all of sendmail.  What
 * m4 makes is looked at: a sendmail.mc that names no daemon has those that sendmail has by itself, at all addresses. */
static int refuse_other_daemons(const struct setup_change *change)
{
    char *quoted = shell_quote(change->base);
    char *command = alloc_format("cd /etc/mail && printf %%s %s | m4 2>/dev/null | grep -i '^O *DaemonPortOptions'", quoted);
    char *daemons = shell_output(command, NULL), *rest = daemons, *line;
    int status = CLI_OK;

    while (status == CLI_OK && (line = strsep(&rest, "\n")) != NULL)
        if (*line != '\0' && strstr(line, "=127.") == NULL && strstr(line, "=::1") == NULL)
            status = cli_fail("this sendmail takes other mail (%s); how both go together, says "
                              HP_DATADIR "/sendmail-cf/hunnypot.mc", line);
    free(daemons);
    free(command);
    free(quoted);
    return status;
}

/* Behind the lines that say what system it is, so that what the operator defines later counts; NULL: no such line. */
static char *find_place(char *text)
{
    char *place = NULL;

    for (char *at = text; *at != '\0'; at = next_line(at))
        if (strncmp(at, "OSTYPE(", 7) == 0 || strncmp(at, "DOMAIN(", 7) == 0)
            place = next_line(at);
    return place;
}

static void make_mc(const struct setup *setup, struct setup_change *change, const char *place)
{
    char *domains = domain_list(setup, ' '), *body, *block;
    size_t size;
    FILE *stream = alloc_text_begin(&body, &size);

    for (size_t i = 0; i < setup->address_count; i++) {
        char text[IPADDR_TEXT_SIZE];
        const char *family;

        ipaddr_format(&setup->addresses[i], text);
        family = strchr(text, ':') != NULL ? "inet6" : "inet";
        fprintf(stream, "DAEMON_OPTIONS(`Name=Trap, Family=%s, Addr=%s, Port=smtp, InputMailFilters=hunnypot%s')dnl\n", family,
                text, strchr(text, ':') != NULL ? ", Modifiers=O" : "");
    }
    fprintf(stream, "RELAY_DOMAIN(`%s')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n"
                    "FEATURE(`accept_unqualified_senders')dnl\nFEATURE(`hunnypot', `%s')dnl\n", domains, SETUP_SOCKET);
    alloc_text_end(stream);
    block = setup_file_block(change, body, "");
    change->new = alloc_format("%.*s%s%s", (int)(place - change->base), change->base, block, place);
    free(block);
    free(body);
    free(domains);
}

/* sendmail.cf is made from sendmail.mc: lines that only the former has would be lost. */
static int refuse_hand_made_cf(void)
{
    static const char compare[] =
        "cd /etc/mail && test \"$(m4 sendmail.mc 2>/dev/null | grep -v '^#')\" = \"$(grep -v '^#' sendmail.cf)\"";
    int same;

    free(shell_output(compare, &same));
    return same == 0 ? CLI_OK : cli_fail("%s is not what %s makes, and would be replaced by that", cf_path, mc_path);
}

static int prepare_sendmail(const struct setup *setup, struct setup_change *changes)
{
    char *place;
    int status = setup_file_open(&changes[0], mc_path, "dnl #");

    if (status == CLI_OK && (changes[0].old == NULL || access("/etc/mail/Makefile", R_OK) != 0))
        return cli_fail("%s and its Makefile, as Debian has them, are not there; by hand: " HP_DATADIR "/sendmail-cf/hunnypot.mc",
                        mc_path);
    if (status == CLI_OK)
        status = setup_file_open(&changes[1], feature_path, NULL);
    if (status == CLI_OK)
        status = setup_file_open(&changes[SETUP_MTA_UNIT], unit_path, NULL);
    if (status == CLI_OK)
        status = refuse_hand_made_cf();
    if (status != CLI_OK || setup->undo)
        return status;
    if ((place = find_place(changes[0].base)) == NULL)
        return cli_fail("%s: there is no OSTYPE line", mc_path);
    status = refuse_what_sendmail_delivers(setup);
    if (status == CLI_OK)
        status = refuse_other_daemons(&changes[0]);
    if (status == CLI_OK)
        status = take_shipped(&changes[1], "sendmail-cf/feature/hunnypot.m4");
    /* sendmail connects as root; a group that is not there keeps the unit from being started. */
    changes[SETUP_MTA_UNIT].new = alloc_text("[Service]\nSupplementaryGroups=\n");
    if (status == CLI_OK)
        make_mc(setup, &changes[0], place);
    return status;
}

/* Both */

int setup_mta_prepare(struct setup *setup, struct setup_change changes[SETUP_MTA_CHANGES], size_t *count)
{
    int status;

    *count = setup->sendmail ? 3 : 1;
    status = setup->sendmail ? prepare_sendmail(setup, changes) : prepare_postfix(setup, &changes[0]);
    if (status == CLI_OK && setup->undo)
        for (size_t i = 0; i < *count; i++)
            changes[i].new = alloc_text(changes[i].lead == NULL ? NULL : changes[i].base);
    /* A file that was there before setup, and is not its own. */
    for (size_t i = 0; status == CLI_OK && i < *count; i++)
        if (setup->undo && changes[i].lead == NULL && changes[i].written == NULL)
            changes[i].new = alloc_text(changes[i].old);
    return status;
}

static int check_sendmail(const struct setup *setup)
{
    int made, reads;
    char *said = shell_output("make -C /etc/mail 2>&1", &made), *classes;
    bool fine = made == 0 && strstr(said, "*** ERROR") == NULL && strstr(said, "m4:") == NULL;

    if (!fine)
        fputs(said, stdout);
    free(said);
    said = shell_output("sendmail -bt -C /etc/mail/sendmail.cf </dev/null 2>&1", &reads);
    /* Rules of the same name as ours, which sendmail would run together. */
    if (reads != 0 || strstr(said, "multiple definitions") != NULL) {
        fputs(said, stdout);
        fine = false;
    }
    free(said);
    classes = shell_output("grep -c -e '^Xhunnypot,' -e '^Mesmtp,' /etc/mail/sendmail.cf", NULL);
    fine = fine && (setup->undo || strncmp(classes, "2", 1) == 0);
    free(classes);
    return fine ? CLI_OK : CLI_FAILED;
}

int setup_mta_check(const struct setup *setup)
{
    if (setup->sendmail)
        return check_sendmail(setup);
    /* It speaks to a terminal, or else to the log. */
    return shell_run("postfix check && postconf -M >/dev/null") == 0 ? CLI_OK : CLI_FAILED;
}

/* A listener that takes the place of another is bound only after that is gone. */
int setup_mta_reload(const struct setup *setup)
{
    const char *name = setup->sendmail ? "sendmail" : "postfix", *running, *take;
    char *command;
    int status;

    running = setup->sendmail ? "kill -0 $(head -n 1 /run/sendmail/mta/sendmail.pid 2>/dev/null) 2>/dev/null"
                              : "postfix status 2>/dev/null";
    if (shell_run(running) != 0) {
        printf("%s is not running: start it when you are ready\n", name);
        return CLI_OK;
    }
    take = setup->sendmail ? "service sendmail restart" : "service postfix restart";
    command = alloc_format("%s >/dev/null 2>&1", take);
    status = shell_run(command) == 0 ? CLI_OK : cli_fail("%s failed", take);
    free(command);
    return status;
}
