-- consumer: OpenSMTPD: table hunnypot file:FILE, then: match from src <hunnypot> for any reject
-- syntax: table(5): one network a line; smtpctl update table hunnypot reads it again
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT network::text FROM hunnypot.worst_listing(:'class') l ORDER BY l.network
