-- consumer: Postfix: check_client_access cidr:FILE
-- syntax: cidr_table(5), access(5): network, then reply code, enhanced code and text
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT format('%s %s %s', network, code, reason) FROM hunnypot.worst_listing(:'class')
ORDER BY masklen(network) DESC, network
