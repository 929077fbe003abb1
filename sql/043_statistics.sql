-- Statistics: one row a queue and minute, from which operators and Retry-After read.

create table if not exists makeready.queue_minutes (
  queue       text        not null,
  minute      timestamptz not null,
  done        integer     not null,
  dead        integer     not null,
  cancelled   integer     not null,
  expired     integer     not null,
  retried     integer     not null,
  lost        integer     not null,
  wait_p50_ms float8,
  wait_p95_ms float8,
  run_p50_ms  float8,
  run_p95_ms  float8,
  constraint queue_minutes_pk primary key (queue, minute)
);
comment on table makeready.queue_minutes is 'What each queue did in each minute, for graphs: reading it never scans jobs. Kept for 30 days.';
comment on column makeready.queue_minutes.queue is 'The queue.';
comment on column makeready.queue_minutes.minute is 'Begin of the minute.';
comment on column makeready.queue_minutes.done is 'Jobs done.';
comment on column makeready.queue_minutes.dead is 'Jobs that died.';
comment on column makeready.queue_minutes.cancelled is 'Jobs cancelled.';
comment on column makeready.queue_minutes.expired is 'Jobs whose deadline passed.';
comment on column makeready.queue_minutes.retried is 'Attempts that failed and were retried.';
comment on column makeready.queue_minutes.lost is 'Leases lost.';
comment on column makeready.queue_minutes.wait_p50_ms is 'Median time from due to claimed, of done jobs; of the last ones of a busy minute.';
comment on column makeready.queue_minutes.wait_p95_ms is '95th percentile of the same.';
comment on column makeready.queue_minutes.run_p50_ms is 'Median time from claimed to done.';
comment on column makeready.queue_minutes.run_p95_ms is '95th percentile of the same.';

create or replace function makeready.stats_take(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_this  timestamptz := date_trunc('minute', makeready.now());
  v_count integer;
begin
  -- The running minute and the one before, again each time, so that late commits are counted.
  insert into makeready.queue_minutes as t (queue, minute, done, dead, cancelled, expired, retried, lost,
                                            wait_p50_ms, wait_p95_ms, run_p50_ms, run_p95_ms)
  select q.queue, m.minute, ended.done, ended.dead, ended.cancelled, ended.expired, tried.retried, tried.lost,
         times.wait[1], times.wait[2], times.run[1], times.run[2]
    from makeready.queues q
   cross join (values (v_this - interval '1 minute'), (v_this)) m (minute)
   cross join lateral (
     select count(*) filter (where s.state = 'done') as done, count(*) filter (where s.state = 'dead') as dead,
            count(*) filter (where s.state = 'cancelled') as cancelled, count(*) filter (where s.state = 'expired') as expired
       from (values ('done'), ('dead'), ('cancelled'), ('expired')) k (state)
       join makeready.jobs s on s.queue = q.queue and s.state = k.state
        and s.finished_at >= m.minute and s.finished_at < m.minute + interval '1 minute') ended
   cross join lateral (
     select count(*) filter (where a.outcome = 'retry') as retried, count(*) filter (where a.outcome = 'lost') as lost
       from makeready.attempts a
      where a.queue = q.queue and a.ended_at >= m.minute and a.ended_at < m.minute + interval '1 minute') tried
   cross join lateral (
     select percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from d.started_at - d.run_at) * 1000) as wait,
            percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from d.finished_at - d.started_at) * 1000) as run
       from (select j.started_at, j.run_at, j.finished_at from makeready.jobs j
              where j.queue = q.queue and j.state = 'done' and j.finished_at >= m.minute and j.finished_at < m.minute + interval '1 minute'
              order by j.finished_at desc limit greatest(max_rows, 1000)) d) times
   where ended.done + ended.dead + ended.cancelled + ended.expired + tried.retried + tried.lost > 0
  on conflict on constraint queue_minutes_pk do update
     set done = excluded.done, dead = excluded.dead, cancelled = excluded.cancelled, expired = excluded.expired,
         retried = excluded.retried, lost = excluded.lost, wait_p50_ms = excluded.wait_p50_ms, wait_p95_ms = excluded.wait_p95_ms,
         run_p50_ms = excluded.run_p50_ms, run_p95_ms = excluded.run_p95_ms
   where (t.done, t.dead, t.cancelled, t.expired, t.retried, t.lost)
         is distinct from (excluded.done, excluded.dead, excluded.cancelled, excluded.expired, excluded.retried, excluded.lost);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.stats_take(integer) is 'Brings queue_minutes up to date for the running and the last minute.';

create or replace function makeready.retry_after(queue_name text)
  returns integer
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select coalesce((select greatest(1, least(600, ceil(m.run_p50_ms / 1000)))::integer
                     from makeready.queue_minutes m
                    where m.queue = queue_name and m.run_p50_ms is not null order by m.minute desc limit 1), 1)
$$;
comment on function makeready.retry_after(text) is 'Seconds after which a place in a full queue is likely: the median run time of the last busy minute, 1 to 600.';

select makeready.chore_create('stats_take', '10 seconds');
