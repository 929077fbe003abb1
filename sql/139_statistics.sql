-- Statistics of photos: counted from the log, to the event; from sums of it for what the log no longer holds.
--
-- An end is one line of processing_logs, and its time is what counts. Periods are hours, days, weeks (from Monday) and
-- months of UTC; one that a range cuts counts what lies inside the range. Sums are made of the log by a chore, an hour
-- again and again until it is over, so that whoever repeats it changes nothing. Hours that have their final sum are read
-- from there, all others from the log. That of an hour may go then, with its photos; `kept_from` says where the log
-- begins, so that no end is counted twice or not at all.

create table if not exists makeready.photo_sums (
  only_row   boolean     not null default true constraint photo_sums_pk primary key
                         constraint photo_sums_has_one_row check (only_row),
  taken_until timestamptz not null default '-infinity',
  kept_from  timestamptz not null default '-infinity'
);
comment on table makeready.photo_sums is 'How far the sums of the processing log have come.';
comment on column makeready.photo_sums.only_row is 'There is one row.';
comment on column makeready.photo_sums.taken_until is 'Ends up to then are in processing_log_aggregates; the last hour of them may change yet.';
comment on column makeready.photo_sums.kept_from is 'Begin of an hour: the log has all ends from then on. Older ones are in the sums alone.';
insert into makeready.photo_sums default values on conflict do nothing;

create or replace function makeready.photo_slot_known(of_slot text)
  returns makeready.slots
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_slot makeready.slots;
begin
  select * into v_slot from makeready.slots s where s.id = of_slot;
  if not found then
    perform makeready.slot_refuse(of_slot);
  end if;
  return v_slot;
end
$$;
comment on function makeready.photo_slot_known(text) is 'A slot by its id. MR404.';

create or replace function makeready.photo_counts(since timestamptz, until_at timestamptz, unit text, of_slot text default null,
    of_provider text default null)
  returns table (begins_at timestamptz, ends_at timestamptz, succeeded bigint, timed_out bigint, provider_failed bigint, was_cancelled bigint)
  language plpgsql
  stable
  security definer
  set search_path = ''
  set plan_cache_mode = force_custom_plan      -- a slot or all of them, a day or three months
  set jit = off
as $$
declare
  v_sums  makeready.photo_sums;
  v_step  interval := ('1 ' || unit)::interval;
  v_first timestamptz := since;                -- from here on, and
  v_last  timestamptz := since;                -- up to here the sums of hours are read; around them the log
begin
  select * into v_sums from makeready.photo_sums s;
  if of_provider is null then
    v_first := date_trunc('hour', since + interval '1 hour' - interval '1 microsecond', 'UTC');
    v_last := least(date_trunc('hour', until_at, 'UTC'), greatest(date_trunc('hour', v_sums.taken_until - interval '1 hour', 'UTC'), v_sums.kept_from));
    if since < v_sums.kept_from then           -- the hour is whole, or it is not there
      v_first := date_trunc('hour', since, 'UTC');
      v_last := greatest(v_last, least(v_sums.kept_from, date_trunc('hour', until_at + interval '1 hour' - interval '1 microsecond', 'UTC')));
    end if;
    if v_last <= v_first then
      v_first := since;
      v_last := since;
    end if;
  end if;
  return query
    with periods as (
      select g.local_start at time zone 'UTC' as starts, (g.local_start + v_step) at time zone 'UTC' as stops
        from generate_series(date_trunc(unit, since at time zone 'UTC'), until_at at time zone 'UTC' - interval '1 microsecond', v_step)
             g (local_start)
    ), ends as (
      select l.occurred_at, l.status, l.failure_reason
        from makeready.processing_logs l
       where l.status in ('succeeded', 'failed', 'timeout') and l.occurred_at >= greatest(since, v_sums.kept_from) and l.occurred_at < v_first
         and (of_slot is null or l.slot_id = of_slot)
      union all
      select l.occurred_at, l.status, l.failure_reason
        from makeready.processing_logs l
       where l.status in ('succeeded', 'failed', 'timeout') and l.occurred_at >= greatest(v_last, v_sums.kept_from) and l.occurred_at < until_at
         and (of_slot is null or l.slot_id = of_slot) and (of_provider is null or l.provider_id = of_provider)
    ), counted as (
      select date_trunc(unit, e.occurred_at, 'UTC') as starts,
             count(*) filter (where e.status = 'succeeded') as well, count(*) filter (where e.status = 'timeout') as late,
             count(*) filter (where e.status = 'failed' and e.failure_reason = 'provider_error') as badly,
             count(*) filter (where e.status = 'failed' and e.failure_reason = 'cancelled') as unwanted
        from ends e
       group by 1
      union all
      select date_trunc(unit, a.period_start, 'UTC'), sum(a.success), sum(a.timeouts), sum(a.provider_errors), sum(a.cancelled)
        from makeready.processing_log_aggregates a
       where coalesce(a.slot_id, 'GLOBAL') = coalesce(of_slot, 'GLOBAL') and a.granularity = 'hour'
         and a.period_start >= v_first and a.period_start < v_last
       group by 1
    )
    select p.starts, p.stops, coalesce(sum(c.well), 0)::bigint, coalesce(sum(c.late), 0)::bigint, coalesce(sum(c.badly), 0)::bigint,
           coalesce(sum(c.unwanted), 0)::bigint
      from periods p left join counted c on c.starts = p.starts
     group by p.starts, p.stops order by p.starts;
end
$$;
comment on function makeready.photo_counts(timestamptz, timestamptz, text, text, text) is
  'How photos ended in each period of a range, empty periods included, of one slot or provider or of all. Of a provider only what the log still has (photo_sums.kept_from); where the log is gone, an hour counts as a whole.';

create or replace function makeready.photo_totals(since timestamptz, until_at timestamptz, of_slot text default null, of_provider text default null)
  returns table (succeeded bigint, timed_out bigint, provider_failed bigint, was_cancelled bigint, response_p50_ms integer,
                 response_p95_ms integer, response_mean_ms integer, provider_p50_ms integer, provider_p95_ms integer, total_cost numeric,
                 answered_well bigint, broken bigint, refused_busy bigint, refused_away bigint, log_begins timestamptz)
  language plpgsql
  stable
  security definer
  set search_path = ''
  set plan_cache_mode = force_custom_plan
  set jit = off
as $$
declare
  v_kept timestamptz := (select s.kept_from from makeready.photo_sums s);
begin
  select coalesce(sum(c.succeeded), 0), coalesce(sum(c.timed_out), 0), coalesce(sum(c.provider_failed), 0), coalesce(sum(c.was_cancelled), 0)
    into succeeded, timed_out, provider_failed, was_cancelled
    from makeready.photo_counts(since, until_at, 'month', of_slot, of_provider) c;
  with ends as (
    -- finished_at is the time of its last line; by created_at there is an index.
    select p.failure_reason as why, p.answered_with, p.cost, p.provider_latency_ms as there_ms,
           extract(epoch from p.finished_at - p.created_at) * 1000 as whole_ms
      from makeready.photos p
     where p.finished_at >= greatest(since, v_kept) and p.finished_at < until_at
       and p.created_at >= greatest(since, v_kept) - interval '1 hour' and p.created_at < until_at
       and (of_slot is null or p.slot_id = of_slot) and (of_provider is null or coalesce(p.done_by, p.provider_id) = of_provider)
  )
  select percentile_cont(0.5) within group (order by e.whole_ms) filter (where e.why is null),
         percentile_cont(0.95) within group (order by e.whole_ms) filter (where e.why is null),
         avg(e.whole_ms) filter (where e.why is null),
         percentile_cont(0.5) within group (order by e.there_ms) filter (where e.why is null),
         percentile_cont(0.95) within group (order by e.there_ms) filter (where e.why is null),
         coalesce(sum(e.cost), 0),
         count(*) filter (where e.why is null and e.answered_with = 200),
         -- Neither the provider's fault nor the time: a worker that was stopped, a fault of ours.
         count(*) filter (where e.answered_with >= 500 and coalesce(e.why, '') not in ('timeout', 'provider_error'))
    into response_p50_ms, response_p95_ms, response_mean_ms, provider_p50_ms, provider_p95_ms, total_cost, answered_well, broken
    from ends e;
  -- Who was refused had no provider yet.
  select coalesce(sum(r.refused) filter (where r.reason <> 'unavailable'), 0), coalesce(sum(r.refused) filter (where r.reason = 'unavailable'), 0)
    into refused_busy, refused_away
    from makeready.ingest_refusals r
   where r.minute >= date_trunc('minute', since) and r.minute < until_at and (of_slot is null or r.slot_id = of_slot) and of_provider is null;
  log_begins := case when v_kept > since then v_kept end;
  return next;
end
$$;
comment on function makeready.photo_totals(timestamptz, timestamptz, text, text) is
  'The sums of a range, and what service levels are made of: response times of photos that ended well, how many were answered 200, how many broke by our fault or were refused. log_begins: all but the first four counts begin there; null: with the range.';

create or replace function makeready.photo_statistics_version(of_slot text default null)
  returns text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  -- A line that is committed late has a time before the last one's: hence the count of those near it.
  select concat_ws(' ', last.at, near.ends, answered.count, refused.at, refused.count, s.last_reset_at, u.kept_from)
    from makeready.photo_sums u
    left join makeready.slots s on s.id = of_slot
    left join lateral (select l.occurred_at as at from makeready.processing_logs l
                        where l.status in ('succeeded', 'failed', 'timeout') and (of_slot is null or l.slot_id = of_slot)
                        order by l.occurred_at desc limit 1) last on true
    left join lateral (select count(*) as ends from makeready.processing_logs l
                        where l.status in ('succeeded', 'failed', 'timeout') and (of_slot is null or l.slot_id = of_slot)
                          and l.occurred_at > last.at - interval '1 minute') near on true
    left join lateral (select count(*) from makeready.photos p
                        where p.created_at > last.at - interval '2 minutes' and p.answered_at is not null
                          and (of_slot is null or p.slot_id = of_slot)) answered on true
    left join lateral (select r.minute as at, sum(r.refused) as count from makeready.ingest_refusals r
                        group by r.minute order by r.minute desc limit 1) refused on true
$$;
comment on function makeready.photo_statistics_version(text) is
  'Another text after each end of a photo, answer, refusal or reset, of one slot or of all: whoever keeps statistics compares it.';

create or replace function makeready.slot_stats_reset(of_slot text, known_version integer default null)
  returns timestamptz
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_slot makeready.slots;
  v_now  timestamptz;
begin
  perform makeready.slot_open(of_slot, known_version);
  select * into v_slot from makeready.slots s where s.id = of_slot;
  v_now := makeready.now();
  update makeready.slots s set last_reset_at = v_now where s.id = of_slot;
  perform makeready.audit('slot_stats_reset', of_slot, jsonb_build_object('last_reset_at', v_slot.last_reset_at),
                          jsonb_build_object('last_reset_at', v_now), null);
  return v_now;
end
$$;
comment on function makeready.slot_stats_reset(text, integer) is
  'The summary of a slot counts from now on; nothing is deleted, and the slot''s version stays. MR404, MR409 stale_version when another version was known.';

create or replace function makeready.photo_sums_take(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_now   timestamptz := makeready.now();
  v_sums  makeready.photo_sums;
  v_first timestamptz;
  v_last  timestamptz;
  v_rows  integer;
  v_count integer := 0;
  v_unit  text;
begin
  select * into v_sums from makeready.photo_sums s for no key update;
  -- The hour before again: what was committed late lies in it. Never one whose log is gone.
  select greatest(v_sums.kept_from, date_trunc('hour', greatest(v_sums.taken_until - interval '1 hour', min(l.occurred_at)), 'UTC'))
    into v_first from makeready.processing_logs l where l.status in ('succeeded', 'failed', 'timeout');
  if v_first is null or v_first = '-infinity' then
    update makeready.photo_sums s set taken_until = v_now;      -- no photo has ended yet
    return 0;
  end if;
  v_last := least(v_now, v_first + make_interval(hours => greatest(max_rows, 24)));
  insert into makeready.processing_log_aggregates as t (slot_id, granularity, period_start, period_end, success, timeouts, provider_errors,
                                                        cancelled, errors, ingest_count)
  select c.slot_id, 'hour', c.starts, c.starts + interval '1 hour', c.well, c.late, c.badly, c.unwanted, c.late + c.badly + c.unwanted,
         c.well + c.late + c.badly + c.unwanted
    from (select l.slot_id, date_trunc('hour', l.occurred_at, 'UTC') as starts,
                 count(*) filter (where l.status = 'succeeded') as well, count(*) filter (where l.status = 'timeout') as late,
                 count(*) filter (where l.status = 'failed' and l.failure_reason = 'provider_error') as badly,
                 count(*) filter (where l.status = 'failed' and l.failure_reason = 'cancelled') as unwanted
            from makeready.processing_logs l
           where l.status in ('succeeded', 'failed', 'timeout') and l.occurred_at >= v_first and l.occurred_at < v_last
           group by grouping sets ((l.slot_id, 2), (2))) c
  on conflict (coalesce(slot_id, 'GLOBAL'), granularity, period_start) do update
     set success = excluded.success, timeouts = excluded.timeouts, provider_errors = excluded.provider_errors,
         cancelled = excluded.cancelled, errors = excluded.errors, ingest_count = excluded.ingest_count
   where (t.success, t.timeouts, t.provider_errors, t.cancelled)
         is distinct from (excluded.success, excluded.timeouts, excluded.provider_errors, excluded.cancelled);
  get diagnostics v_count = row_count;
  -- Longer periods are made of their hours.
  foreach v_unit in array array['day', 'week', 'month'] loop
    insert into makeready.processing_log_aggregates as t (slot_id, granularity, period_start, period_end, success, timeouts, provider_errors,
                                                          cancelled, errors, ingest_count)
    select h.slot_id, v_unit, h.starts, (h.starts at time zone 'UTC' + ('1 ' || v_unit)::interval) at time zone 'UTC',
           h.well, h.late, h.badly, h.unwanted, h.late + h.badly + h.unwanted, h.well + h.late + h.badly + h.unwanted
      from (select a.slot_id, date_trunc(v_unit, a.period_start, 'UTC') as starts, sum(a.success) as well, sum(a.timeouts) as late,
                   sum(a.provider_errors) as badly, sum(a.cancelled) as unwanted
              from makeready.processing_log_aggregates a
             where a.granularity = 'hour' and a.period_start >= date_trunc(v_unit, v_first, 'UTC') and a.period_start < v_last
             group by 1, 2) h
    on conflict (coalesce(slot_id, 'GLOBAL'), granularity, period_start) do update
       set success = excluded.success, timeouts = excluded.timeouts, provider_errors = excluded.provider_errors,
           cancelled = excluded.cancelled, errors = excluded.errors, ingest_count = excluded.ingest_count
     where (t.success, t.timeouts, t.provider_errors, t.cancelled)
           is distinct from (excluded.success, excluded.timeouts, excluded.provider_errors, excluded.cancelled);
    get diagnostics v_rows = row_count;
    v_count := v_count + v_rows;
  end loop;
  update makeready.photo_sums s set taken_until = greatest(s.taken_until, v_last);
  return v_count;
end
$$;
comment on function makeready.photo_sums_take(integer) is
  'Brings processing_log_aggregates up to date, at most so many hours at a time; how many rows have changed. Again it changes nothing.';
select makeready.chore_create('photo_sums_take', '1 minute');
create index if not exists processing_log_aggregates_hours on makeready.processing_log_aggregates (period_start) where granularity = 'hour';

create or replace function makeready.photos_purge(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_sums  makeready.photo_sums;
  v_until timestamptz := (select date_trunc('hour', makeready.now() - make_interval(days => p.keep_days), 'UTC') from makeready.ingest_policy p);
  v_count integer;
  v_rows  integer;
begin
  select * into v_sums from makeready.photo_sums s for no key update;
  if v_sums.taken_until < v_until + interval '1 hour' then
    return 0;      -- first the sums
  end if;
  -- At once for all: from now on nobody counts a line of these hours, however many of them are there yet.
  v_until := greatest(v_until, v_sums.kept_from);
  update makeready.photo_sums s set kept_from = v_until where s.kept_from < v_until;
  -- One whose files are there keeps its row until the cleaner has been there, or nobody would know of them.
  delete from makeready.photos p
   where p.id in (select o.id from makeready.photos o
                   where o.created_at < v_until - interval '1 hour' and o.finished_at < v_until and o.result_path is null
                     and not exists (select from makeready.media_objects m where m.job_id = o.id)
                   order by o.created_at limit max_rows for update skip locked);
  get diagnostics v_count = row_count;
  delete from makeready.ingest_refusals r
   where (r.slot_id, r.reason, r.minute) in (select o.slot_id, o.reason, o.minute from makeready.ingest_refusals o
                                              where o.minute < v_until order by o.minute limit max_rows);
  get diagnostics v_rows = row_count;
  return v_count + v_rows;
end
$$;
comment on function makeready.photos_purge(integer) is
  'Deletes photos past ingest_policy.keep_days with their log, oldest first, once their hours are summed up; and refusals as old.';
select makeready.chore_create('photos_purge', '10 minutes');

grant execute on function
  makeready.photo_counts(timestamptz, timestamptz, text, text, text), makeready.photo_totals(timestamptz, timestamptz, text, text),
  makeready.photo_statistics_version(text)
to makeready_http, makeready_ops, makeready_read;
grant execute on function makeready.slot_stats_reset(text, integer), makeready.photo_slot_known(text) to makeready_http, makeready_ops;
