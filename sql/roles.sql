-- The roles, and who owns what.  Runs before all else, by whoever runs `hunnypot db init` or `upgrade`: in a new database, and in
-- one that was restored where the roles are not, or not the same.

-- They have no login: GRANT them to the roles that programs and people log in with.  hunnypot_owner owns all that is made
-- here, so that functions which run with their owner's rights never have a superuser's, and upgrades need none.
DO $$
DECLARE
    missing text;
BEGIN
    FOR missing IN
        SELECT name FROM unnest(ARRAY['hunnypot_owner', 'hunnypot_sensor', 'hunnypot_reader',
                                        'hunnypot_operator', 'hunnypot_witness', 'hunnypot_door']) name
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
    LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
    END LOOP;
    -- From PostgreSQL 16 on, to be a member is not all.
    IF NOT pg_has_role('hunnypot_owner', CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER'
                                              ELSE 'SET' END) THEN
        GRANT hunnypot_owner TO CURRENT_USER;
    END IF;
    IF NOT pg_has_role('hunnypot_operator', 'hunnypot_reader', 'MEMBER') THEN
        GRANT hunnypot_reader TO hunnypot_operator;
    END IF;
END
$$;

DO $$
DECLARE
    owner CONSTANT oid := 'hunnypot_owner'::regrole;
    ours  CONSTANT oid := to_regnamespace('hunnypot');
    what  text;
BEGIN
    FOR what IN
        SELECT 'SCHEMA hunnypot' FROM pg_namespace WHERE oid = ours AND nspowner <> owner
        UNION ALL
        SELECT format('%s %s', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass)
        FROM pg_class c WHERE relnamespace = ours AND relowner <> owner AND relkind IN ('r', 'p', 'v', 'S')
          -- An identity's sequence goes with its table.
          AND (relkind <> 'S' OR NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'))
        UNION ALL
        SELECT format('FUNCTION %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = ours AND proowner <> owner
        UNION ALL
        SELECT format('%s %s', CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.oid::regtype)
        FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE typnamespace = ours AND typowner <> owner
          AND (typtype IN ('d', 'e', 'r') OR (typtype = 'c' AND c.relkind = 'c'))
    LOOP
        EXECUTE format('ALTER %s OWNER TO hunnypot_owner', what);
    END LOOP;
END
$$;
