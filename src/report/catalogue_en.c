#include "report/catalogue.h"

extern const struct catalogue catalogue_en;

const struct catalogue catalogue_en = {.language = "en", .words = {
    [WORD_TITLE] = "Is an address on the list?",
    [WORD_ADDRESS] = "IP address",
    [WORD_LOOK_UP] = "Look up",
    [WORD_CONTACT] = "Who is responsible",
    [WORD_PRIVACY] = "What is kept about people",

    [WORD_NOT_LISTED] = "$ is not listed",
    [WORD_NOT_LISTED_MORE] = "Who refused your mail may use other lists, too: the words of the refusal name the one that it was.",
    [WORD_LISTED] = "$ is listed",
    [WORD_PAUSES] = "$ is not listed at this moment, and will be again",
    [WORD_WHAT_FOR] = "What for",
    [WORD_PROOF] = "What shows it",
    [WORD_SINCE] = "Since",
    [WORD_UNTIL] = "Until, if nothing more comes",
    [WORD_LAST_SEEN] = "Seen last on",
    [WORD_ANSWER] = "What becomes of its mail",
    [WORD_NEIGHBOURS] = "Several addresses of this network did so; therefore they are listed together.",
    [WORD_TRAP] = "It sent mail to a domain that gets no mail.",
    [WORD_BACKUP] = "It sent mail to a backup mail server while the primary mail server of the domain was there and took mail.",
    [WORD_ADDRESS_CLASS] = "It sent mail to the address of a domain, past the mail servers that DNS names for it.",
    [WORD_NULL_SENDER] = "It sent bounces to a host that is not the mail server of the domain.",
    [WORD_OTHER_CLASS] = "It was listed as $.",
    [WORD_WITNESSED] = "It is proven: nowhere did these letters arrive where mail of the domain belongs.",
    [WORD_INFERRED] = ("It is inferred: so does software that sends spam, but nobody watched whether the letters arrived. "
                       "Therefore the listing is weaker, and pauses from time to time."),
    [WORD_FIRM] = "Whoever uses the list may refuse it for good.",
    [WORD_SOFT] = "Whoever uses the list is asked to put it off only: a mail server that tries again gets through later.",

    [WORD_CHECK] = "What you can check there",
    [WORD_CHECK_PRIMARY] = ("Did your server reach the primary mail server of the domains that it wrote to? Mail servers are "
                            "tried in the order of their MX records. Look into its log of that day: a filter for port 25, broken "
                            "IPv6 or old DNS answers let it go past the first one."),
    [WORD_CHECK_NAME] = ("Does the name resolve both ways? The address should have a name (PTR), and that name should lead back "
                         "to the address."),
    [WORD_CHECK_OTHERS] = ("Does somebody else send from this address: a computer behind it, a form on a web site, an account "
                           "with a stolen password?"),
    [WORD_CHECK_ADDRESSES] = ("Where do the addresses come from that it writes to? Take off those that never answered or that "
                              "were bought."),

    [WORD_OFF] = "How it gets off the list",
    [WORD_OFF_BY_TIME] = "By itself, when nothing more comes: at $ at the latest.",
    [WORD_OFF_MEANS] = ("On request it comes off at once. What was counted is void then, but nothing is allowed for the future: "
                        "the next offence puts it on the list again, and from then on only a person takes it off. So mend the "
                        "cause first."),
    [WORD_OFF_PERSON] = "On request a person looks at it, and decides.",
    [WORD_OFF_UNSURE] = "From here no request is taken, as it is not sure here who asks.",
    [WORD_OFF_BUTTON] = "Take $ off the list",
    [WORD_OFF_FROM_THERE] = ("From the address itself: open this page from there. It then has a button for that; for programs, "
                             "the page as JSON has a token to send back."),
    [WORD_OFF_BY_NAME] = ("By DNS: where the address has a name that leads back to it, put a TXT record with this text at "
                          "_hunnypot, a dot and that name, and press the button then:"),
    [WORD_OFF_BY_NAME_BUTTON] = "The record is there: have it checked",
    [WORD_OFF_UNPROVEN] = "The record is looked for within some minutes, and for a day. No message is sent: look here again.",
    [WORD_OFF_WAITING] = "A request waits for a person to decide. No message is sent: look here again.",
    [WORD_OFF_REFUSED] = "A person has looked at it, and refused. If that is wrong, write to who is responsible.",
    [WORD_OFF_NOT_NOW] = "At this moment no request can be taken. Come again later.",

    [WORD_DID_REMOVED] = "It is done: $ is taken off the list. Who uses the list has that within minutes to hours.",
    [WORD_DID_PERSON] = "Your request is here. A person decides on it.",
    [WORD_DID_NAME] = "Your request is here. The record in DNS is looked for now.",
    [WORD_DID_GONE] = "There is nothing to do: $ is not listed.",
    [WORD_DID_STALE] = "This form was used already, or is too old. Below is a new one, if it is needed still.",
    [WORD_DID_OPEN] = "There is a request already, which a person decides on.",
    [WORD_DID_REFUSED] = "A person has refused this already.",
    [WORD_DID_BUSY] = "There are too many requests. Come again tomorrow.",

    [WORD_WRONG_ADDRESS] = "This is no IP address. Write one like 192.0.2.1 or 2001:db8::1.",
    [WORD_WRONG_REQUEST] = "This request is not understood.",
    [WORD_WRONG_PATH] = "There is no such page.",
    [WORD_WRONG_METHOD] = "This page does not take that.",
    [WORD_WRONG_SIZE] = "This request is too large.",
    [WORD_WRONG_OFTEN] = "There are too many requests. Come again in a minute.",
    [WORD_WRONG_LATER] = "This cannot be answered at this moment. Come again in a minute.",
    [WORD_WRONG_INSIDE] = "Something went wrong here.",
}};
