-- consumer: OpenSMTPD: table hunnypot file:FILE, then: match from src <hunnypot> for any reject
-- syntax: table(5): one network a line; smtpctl update table hunnypot reads it again
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT network FROM hunnypot.firm_listing(:'class', :'inferred') l ORDER BY l.network
