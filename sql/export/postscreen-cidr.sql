-- consumer: postscreen of Postfix: postscreen_access_list = permit_mynetworks, cidr:FILE
-- syntax: cidr_table(5): network, then permit, reject or dunno
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
SELECT format('%s reject', network) FROM hunnypot.worst_listing(:'class') ORDER BY network
