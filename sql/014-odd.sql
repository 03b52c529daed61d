-- 014: networks that are listed and are neither one address nor the /64 of one have an index of their own.  As a rule there is none, and
-- who looks an address up asks for that once instead of for each network that might hold it.

SELECT hunnypot.lock_alone('hunnypot.listed_network', 'the list');
CREATE INDEX listed_network_odd ON hunnypot.listed_network (masklen(network))
    WHERE NOT CASE family(network) WHEN 4 THEN masklen(network) = 32 ELSE masklen(network) IN (64, 128) END;
