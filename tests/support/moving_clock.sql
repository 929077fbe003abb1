-- The product's clock, but one that a test can move: by the setting makeready.clock_offset, an interval.
create or replace function makeready.now()
  returns timestamptz
  language sql
  volatile
as $$
  select pg_catalog.clock_timestamp()
         operator(pg_catalog.+) coalesce(nullif(pg_catalog.current_setting('makeready.clock_offset', true), '')::pg_catalog.interval, '0'::pg_catalog.interval)
$$;
