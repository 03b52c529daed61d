-- consumer: Suricata: a file of reputation-files; a rule then says: iprep:src,hunnypot,>,0
-- syntax: Suricata's IP reputation: network, number of the category, score 1 to 127; Debian 12 has no Suricata, so this is checked
--         for its form only
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
-- parameter: category = 1  its number in the file reputation-categories-file (1,hunnypot,Listed by Hunnypot)
-- parameter: score = 100  how bad it is, 1 to 127
SELECT format('%s,%s,%s', network, :'category', :'score') FROM hunnypot.firm_listing(:'class', :'inferred') l ORDER BY l.network
