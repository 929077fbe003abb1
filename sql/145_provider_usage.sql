-- What providers were asked for, and what it cost: one row a provider and day.
--
-- A photo may ask several providers several times; its worker adds all of it in one call, beside the photo's end and never
-- in its way. A crash of the database or of the worker may lose the last additions, so this is no book to pay bills by.

create table if not exists makeready.provider_usage (
  provider_id text    not null,
  day         date    not null,
  calls       integer not null default 0 constraint provider_usage_calls_is_not_negative check (calls >= 0),
  failures    integer not null default 0 constraint provider_usage_failures_is_part_of_calls check (failures between 0 and calls),
  busy_ms     bigint  not null default 0 constraint provider_usage_busy_is_not_negative check (busy_ms >= 0),
  cost        numeric not null default 0 constraint provider_usage_cost_is_not_negative check (cost >= 0),
  constraint provider_usage_pk primary key (provider_id, day)
);
create index if not exists provider_usage_days on makeready.provider_usage (day);
comment on table makeready.provider_usage is 'How often providers were asked, by day in UTC, and what it cost.';
comment on column makeready.provider_usage.provider_id is 'The provider; no foreign key, its days stay when it goes.';
comment on column makeready.provider_usage.day is 'The day in UTC.';
comment on column makeready.provider_usage.calls is 'Tries, those that were cut off included.';
comment on column makeready.provider_usage.failures is 'Tries that brought no image.';
comment on column makeready.provider_usage.busy_ms is 'How long all of them took together.';
comment on column makeready.provider_usage.cost is 'As the provider said, else the price of its options for each image, in its own currency.';

create or replace function makeready.provider_asked(asked jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into makeready.provider_usage as u (provider_id, day, calls, failures, busy_ms, cost)
  select a.provider, (makeready.now() at time zone 'UTC')::date, sum(a.calls), sum(a.failures), sum(a.ms), sum(a.cost)
    from jsonb_to_recordset(asked) a (provider text, calls integer, failures integer, ms bigint, cost numeric)
   group by a.provider
   order by a.provider                       -- two callers wait for each other, not in a circle
  on conflict on constraint provider_usage_pk do update
     set calls = u.calls + excluded.calls, failures = u.failures + excluded.failures,
         busy_ms = u.busy_ms + excluded.busy_ms, cost = u.cost + excluded.cost;
end
$$;
comment on function makeready.provider_asked(jsonb) is
  'Counts what providers were asked for a photo: [{provider, calls, failures, ms, cost}]. It does not wait for the disk.';

grant execute on function makeready.provider_asked(jsonb) to makeready_worker;
