-- consumer: scripts: every listing, also several of one network
-- syntax: one JSON object a line
-- parameter: class =   only this class (trap, backup, address ...); when empty all
SELECT json_build_object('network', network, 'class', class, 'since', hunnypot.iso_time(since),
                         'until', hunnypot.iso_time(until), 'code', code, 'return_address', host(return_address),
                         'hits', hits, 'domains', domains, 'reason', reason, 'proof', proof)::text
FROM hunnypot.listing WHERE (SELECT hunnypot.known_class(:'class')) IS NOT NULL AND :'class' IN ('', class) ORDER BY network, rank
