-- 014: functions that `hunnypot export --changes` asks for; all tables are as they were.

SELECT 1;
