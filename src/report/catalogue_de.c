#include "report/catalogue.h"

extern const struct catalogue catalogue_de;

const struct catalogue catalogue_de = {.language = "de", .words = {
    [WORD_TITLE] = "Steht eine Adresse auf der Liste?",
    [WORD_ADDRESS] = "IP-Adresse",
    [WORD_LOOK_UP] = "Nachsehen",
    [WORD_CONTACT] = "Wer verantwortlich ist",
    [WORD_PRIVACY] = "Was über Menschen gespeichert wird",

    [WORD_NOT_LISTED] = "$ steht nicht auf der Liste",
    [WORD_NOT_LISTED_MORE] = ("Wer Ihre Mail abgewiesen hat, benutzt vielleicht auch andere Listen: der Text der Abweisung nennt "
                              "die Liste."),
    [WORD_LISTED] = "$ steht auf der Liste",
    [WORD_PAUSES] = "$ steht zur Zeit nicht auf der Liste, kommt aber wieder darauf",
    [WORD_WHAT_FOR] = "Wofür",
    [WORD_PROOF] = "Was es zeigt",
    [WORD_SINCE] = "Seit",
    [WORD_UNTIL] = "Bis, wenn nichts mehr kommt",
    [WORD_LAST_SEEN] = "Zuletzt gesehen am",
    [WORD_ANSWER] = "Was aus ihrer Mail wird",
    [WORD_NEIGHBOURS] = "Mehrere Adressen dieses Netzes haben das getan; darum stehen sie zusammen auf der Liste.",
    [WORD_TRAP] = "Sie hat Mail an eine Domain geschickt, die keine Mail bekommt.",
    [WORD_BACKUP] = ("Sie hat Mail an einen Ersatz-Mailserver geschickt, während der erste Mailserver der Domain da war und Mail "
                     "annahm."),
    [WORD_ADDRESS_CLASS] = ("Sie hat Mail an die Adresse einer Domain geschickt, an den Mailservern vorbei, die das DNS für sie "
                            "nennt."),
    [WORD_NULL_SENDER] = ("Sie hat Unzustellbarkeitsmeldungen an einen Rechner geschickt, der nicht der Mailserver der Domain "
                          "ist."),
    [WORD_OTHER_CLASS] = "Sie steht als $ auf der Liste.",
    [WORD_WITNESSED] = "Es ist bewiesen: nirgends, wo Mail der Domain hingehört, sind diese Briefe angekommen.",
    [WORD_INFERRED] = ("Es ist geschlossen: so verhält sich Software, die Spam verschickt, doch niemand hat darauf geachtet, ob "
                       "die Briefe angekommen sind. Darum ist der Eintrag schwächer und pausiert von Zeit zu Zeit."),
    [WORD_FIRM] = "Wer die Liste benutzt, darf sie endgültig abweisen.",
    [WORD_SOFT] = "Wer die Liste benutzt, soll sie nur aufschieben: ein Mailserver, der es wieder versucht, kommt später durch.",

    [WORD_CHECK] = "Was Sie dort prüfen können",
    [WORD_CHECK_PRIMARY] = ("Hat Ihr Server den ersten Mailserver der Domains erreicht, an die er schrieb? Mailserver werden in "
                            "der Reihenfolge ihrer MX-Einträge versucht. Sehen Sie in seinem Log dieses Tages nach: ein Filter "
                            "für Port 25, defektes IPv6 oder alte DNS-Antworten lassen ihn am ersten vorbeigehen."),
    [WORD_CHECK_NAME] = ("Stimmt der Name in beide Richtungen? Die Adresse soll einen Namen haben (PTR), und dieser Name soll "
                         "zur Adresse zurückführen."),
    [WORD_CHECK_OTHERS] = ("Sendet noch jemand von dieser Adresse: ein Computer dahinter, ein Formular einer Website, ein Konto "
                           "mit gestohlenem Passwort?"),
    [WORD_CHECK_ADDRESSES] = ("Woher kommen die Adressen, an die er schreibt? Streichen Sie, was nie geantwortet hat oder "
                              "gekauft wurde."),

    [WORD_OFF] = "Wie sie von der Liste kommt",
    [WORD_OFF_BY_TIME] = "Von selbst, wenn nichts mehr kommt: spätestens $.",
    [WORD_OFF_MEANS] = ("Auf Antrag kommt sie sofort herunter. Was gezählt wurde, gilt dann nicht mehr, aber für die Zukunft ist "
                        "nichts erlaubt: der nächste Verstoß bringt sie wieder auf die Liste, und dann nimmt sie nur noch ein "
                        "Mensch herunter. Beheben Sie also zuerst die Ursache."),
    [WORD_OFF_PERSON] = "Auf Antrag sieht ein Mensch es sich an und entscheidet.",
    [WORD_OFF_UNSURE] = "Von hier wird kein Antrag angenommen, da hier nicht sicher ist, wer fragt.",
    [WORD_OFF_BUTTON] = "$ von der Liste nehmen",
    [WORD_OFF_FROM_THERE] = ("Von der Adresse selbst: öffnen Sie diese Seite von dort. Sie hat dann einen Knopf dafür; für "
                             "Programme hat die Seite als JSON ein Token, das zurückgeschickt wird."),
    [WORD_OFF_BY_NAME] = ("Durch das DNS: wenn die Adresse einen Namen hat, der zu ihr zurückführt, tragen Sie bei _hunnypot, "
                          "einem Punkt und diesem Namen einen TXT-Eintrag mit diesem Text ein, und drücken Sie dann den Knopf:"),
    [WORD_OFF_BY_NAME_BUTTON] = "Der Eintrag ist da: prüfen lassen",
    [WORD_OFF_UNPROVEN] = ("Nach dem Eintrag wird in einigen Minuten gesucht, und einen Tag lang. Es kommt keine Nachricht: "
                           "sehen Sie hier wieder nach."),
    [WORD_OFF_WAITING] = ("Ein Antrag wartet darauf, dass ein Mensch entscheidet. Es kommt keine Nachricht: sehen Sie hier "
                          "wieder nach."),
    [WORD_OFF_REFUSED] = ("Ein Mensch hat es sich angesehen und abgelehnt. Wenn das falsch ist, schreiben Sie dem, der "
                          "verantwortlich ist."),
    [WORD_OFF_NOT_NOW] = "Zur Zeit kann kein Antrag angenommen werden. Kommen Sie später wieder.",

    [WORD_DID_REMOVED] = "Es ist getan: $ ist von der Liste genommen. Wer die Liste benutzt, hat das in Minuten bis Stunden.",
    [WORD_DID_PERSON] = "Ihr Antrag ist da. Ein Mensch entscheidet darüber.",
    [WORD_DID_NAME] = "Ihr Antrag ist da. Der Eintrag im DNS wird jetzt gesucht.",
    [WORD_DID_GONE] = "Es ist nichts zu tun: $ steht nicht auf der Liste.",
    [WORD_DID_STALE] = "Dieses Formular wurde schon benutzt oder ist zu alt. Unten ist ein neues, falls es noch nötig ist.",
    [WORD_DID_OPEN] = "Es gibt schon einen Antrag, über den ein Mensch entscheidet.",
    [WORD_DID_REFUSED] = "Ein Mensch hat das schon abgelehnt.",
    [WORD_DID_BUSY] = "Es sind zu viele Anträge. Kommen Sie morgen wieder.",

    [WORD_WRONG_ADDRESS] = "Das ist keine IP-Adresse. Schreiben Sie eine wie 192.0.2.1 oder 2001:db8::1.",
    [WORD_WRONG_REQUEST] = "Diese Anfrage ist nicht zu verstehen.",
    [WORD_WRONG_PATH] = "Es gibt keine solche Seite.",
    [WORD_WRONG_METHOD] = "Das nimmt diese Seite nicht an.",
    [WORD_WRONG_SIZE] = "Diese Anfrage ist zu groß.",
    [WORD_WRONG_OFTEN] = "Es sind zu viele Anfragen. Kommen Sie in einer Minute wieder.",
    [WORD_WRONG_LATER] = "Das kann zur Zeit nicht beantwortet werden. Kommen Sie in einer Minute wieder.",
    [WORD_WRONG_INSIDE] = "Hier ist etwas schiefgegangen.",
}};
