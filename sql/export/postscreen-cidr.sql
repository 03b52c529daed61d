-- consumer: postscreen of Postfix: postscreen_access_list = permit_mynetworks, cidr:FILE  (postfix reload reads it again)
-- syntax: cidr_table(5): network, then permit, reject or dunno
-- parameter: class =   only this class (trap, backup, address ...); when empty all, the worst of each network
-- parameter: inferred =   yes: also listings that are to be told to come again later, which this format cannot say
SELECT format('%s reject', network) FROM hunnypot.firm_listing(:'class', :'inferred') ORDER BY network
