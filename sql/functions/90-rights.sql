-- Who may call what.  Nothing is for everybody.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hunnypot FROM PUBLIC;

GRANT USAGE ON SCHEMA hunnypot TO hunnypot_sensor, hunnypot_reader, hunnypot_operator, hunnypot_door;
GRANT SELECT ON hunnypot.schema_version, hunnypot.sensor, hunnypot.spool, hunnypot.hit, hunnypot.hit_default,
    hunnypot.waiting, hunnypot.offence_day, hunnypot.offence, hunnypot.setting, hunnypot.policy, hunnypot.allow,
    hunnypot.listing, hunnypot.listed_now, hunnypot.on_list, hunnypot.odd_network, hunnypot.list_serial, hunnypot.suspect, hunnypot.redeemed,
    hunnypot.brake_state, hunnypot.held, hunnypot.rework,
    hunnypot.hourly, hunnypot.outage, hunnypot.reached, hunnypot.left_alone, hunnypot.busiest, hunnypot.until_listed,
    hunnypot.listing_count, hunnypot.hit_to_listing, hunnypot.request TO hunnypot_reader;
GRANT EXECUTE ON FUNCTION hunnypot.setting, hunnypot.client_address, hunnypot.client_network, hunnypot.neighbours, hunnypot.covering, hunnypot.units,
    hunnypot.hours_left, hunnypot.iso_time, hunnypot.reversed, hunnypot.address, hunnypot.known_class, hunnypot.listed,
    hunnypot.listed_code, hunnypot.listed_address,
    hunnypot.worst_listing, hunnypot.firm_listing, hunnypot.newest_offences, hunnypot.why, hunnypot.verdicts, hunnypot.hit_words, hunnypot.hit_outcome, hunnypot.policy_test,
    hunnypot.postfix_action, hunnypot.postfix_actions, hunnypot.listing_serial, hunnypot.listing_state, hunnypot.changes,
    hunnypot.list_mark, hunnypot.changed_networks, hunnypot.changed_listing, hunnypot.mark_address,
    hunnypot.publish_check,
    hunnypot.brake_room, hunnypot.policy_tradeoff, hunnypot.until_listed_steps, hunnypot.hit_to_listing_bounds TO hunnypot_reader;
GRANT SELECT ON hunnypot.envelope_key TO hunnypot_reader;
GRANT EXECUTE ON FUNCTION hunnypot.envelope_keys TO hunnypot_sensor, hunnypot_operator;

GRANT EXECUTE ON FUNCTION hunnypot.sensor_hello, hunnypot.record_batch, hunnypot.sensor_heartbeat, hunnypot.tick,
    hunnypot.sensor_brake, hunnypot.sensor_friends TO hunnypot_sensor;
GRANT EXECUTE ON FUNCTION hunnypot.door_look_up, hunnypot.door_token, hunnypot.door_ask TO hunnypot_door;

GRANT INSERT, UPDATE, DELETE ON hunnypot.policy, hunnypot.allow, hunnypot.setting TO hunnypot_operator;
GRANT EXECUTE ON FUNCTION hunnypot.are_nat64_prefixes, hunnypot.brake_release, hunnypot.allow_add, hunnypot.allow_del, hunnypot.forget,
    hunnypot.expire, hunnypot.tick, hunnypot.rebuild, hunnypot.policy_enable, hunnypot.request_to_check, hunnypot.request_checked,
    hunnypot.request_decide, hunnypot.sensor_retire TO hunnypot_operator;
