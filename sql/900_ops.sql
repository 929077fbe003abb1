-- What an operator calls and reads in psql. Every change is audited; every view has a bounded plan; `because` is kept.

create or replace function makeready.retry(queue_name text, job uuid, because text default null)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_job makeready.jobs;
begin
  -- Locked before its place is counted: a waiting job that expires meanwhile would come back without one.
  select * into v_job from makeready.jobs j where j.queue = queue_name and j.id = job for no key update;
  if not found then
    raise exception 'there is no job % in queue %', job, queue_name
      using errcode = 'MR404', detail = json_build_object('queue', queue_name, 'job', job), hint = 'It may have been pruned.';
  end if;
  if v_job.state not in ('dead', 'cancelled', 'expired', 'waiting') then
    raise exception 'job % is %, only a dead, cancelled, expired or waiting one can be retried', job, v_job.state
      using errcode = 'MR409', detail = json_build_object('queue', queue_name, 'job', job, 'state', v_job.state),
            hint = 'A done job is repeated by enqueuing a new one.';
  end if;
  if v_job.state <> 'waiting' then
    perform makeready.admit(queue_name, 1);
  end if;
  perform makeready.reopen(queue_name, array[job]);
  perform makeready.audit('retry', queue_name || '/' || job, jsonb_build_object('state', v_job.state), '{"state": "queued"}', because);
  perform makeready.wake(queue_name);
  return (select j.state from makeready.jobs j where j.queue = queue_name and j.id = job);
end
$$;
comment on function makeready.retry(text, uuid, text) is
  'Queues an ended job again, or a waiting one now, with all its attempts before it; its history stays. MR409 for a done or open one, MR429 when the queue is full.';

create or replace function makeready.reopen(queue_name text, job_ids uuid[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now    timestamptz := makeready.now();
  v_policy makeready.queues := makeready.queue_policy(queue_name);
  v_ids    uuid[];
  v_turns  bigint[];
  v_count  integer;
begin
  -- Each owner's jobs one turn after another: a bulk retry does not push in. Before the update, whose rows first_turn would see.
  select array_agg(l.id), array_agg(l.turn) into v_ids, v_turns
    from (select j.id, case when v_policy.is_fair
                            then makeready.first_turn(queue_name, j.lane, j.host, j.priority, j.owner) - 1
                                 + row_number() over (partition by j.owner, j.lane, j.host, j.priority order by j.turn, j.id)
                            else 0 end as turn
            from makeready.jobs j where j.queue = queue_name and j.id = any (job_ids)) l;
  update makeready.jobs j
     set state = 'queued', run_at = v_now, finished_at = null, cancel_at = null, attempt = 0, lost = 0,
         deadline_at = case when j.deadline_at > v_now then j.deadline_at end,     -- a deadline that has passed is over
         turn = l.turn
    from unnest(v_ids, v_turns) l (id, turn)
   where j.queue = queue_name and j.id = any (job_ids) and j.id = l.id and j.state in ('dead', 'cancelled', 'expired', 'waiting');
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.reopen(text, uuid[]) is 'Puts jobs back in line. Internal: retry and redrive call it behind the admission gate.';

create or replace function makeready.redrive(queue_name text, max_jobs integer default 100, error_code text default null,
    dry_run boolean default true, because text default null)
  returns setof uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_policy makeready.queues := makeready.queue_policy(queue_name);
  v_ids    uuid[];
begin
  perform makeready.refuse_unless_read_committed('redrive');
  select array_agg(d.id order by d.finished_at) into v_ids
    from (select j.id, j.finished_at from makeready.jobs j
           where j.queue = queue_name and j.state = 'dead' and (error_code is null or j.error ->> 'code' = error_code)
           order by j.finished_at limit max_jobs for update skip locked) d;
  if not dry_run and v_ids is not null then
    perform makeready.admit(queue_name, cardinality(v_ids));
    perform makeready.reopen(queue_name, v_ids);
    perform makeready.audit('redrive', queue_name, jsonb_build_object('error_code', error_code),
                            jsonb_build_object('jobs', cardinality(v_ids)), because);
    perform makeready.wake(queue_name);
  end if;
  return query select unnest(v_ids);
end
$$;
comment on function makeready.redrive(text, integer, text, boolean, text) is
  'Queues dead jobs again, oldest first, all of them or only those with an error code; returns their ids. Only shows them unless dry_run => false. MR429 when they do not fit in.';

create or replace function makeready.job_evict(queue_name text, job uuid, because text default null)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_old makeready.jobs;
  v_to  text;
begin
  select * into v_old from makeready.jobs j where j.queue = queue_name and j.id = job and j.state = 'running' for no key update;
  if not found then
    raise exception 'job % of queue % is not running', job, queue_name
      using errcode = 'MR409', detail = json_build_object('queue', queue_name, 'job', job), hint = 'select * from makeready.why(job) tells how it stands.';
  end if;
  -- In its worker's place: what was cancelled or is past its deadline ends, the rest is queued again.
  v_to := makeready.fail(queue_name, job, v_old.lease, 'interrupted', jsonb_build_object('code', 'evicted', 'message', because));
  perform makeready.audit('job_evict', queue_name || '/' || job, jsonb_build_object('worker', v_old.worker_id), jsonb_build_object('state', v_to), because);
  if v_to = 'queued' then
    perform makeready.wake(queue_name);
  else
    perform makeready.announce(queue_name, array[job]);
  end if;
  return v_to;
end
$$;
comment on function makeready.job_evict(text, uuid, text) is 'Takes a running job away from its worker and queues it, or ends it where it was to be cancelled or its deadline has passed; whatever that worker still does changes nothing. Returns its state.';

create or replace function makeready.worker_evict(instance_name text, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  delete from makeready.workers w where w.instance = instance_name;
  if not found then
    raise exception 'there is no worker %', quote_literal(instance_name)
      using errcode = 'MR404', detail = json_build_object('instance', instance_name), hint = 'select instance from makeready.workers lists them.';
  end if;
  perform makeready.audit('worker_evict', instance_name, null, null, because);
  return makeready.reap(1000, false);
end
$$;
comment on function makeready.worker_evict(text, text) is 'Takes all jobs away from a worker (returns how many). A live one registers again at its next beat.';

create or replace function makeready.after_restore(because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  delete from makeready.workers;
  perform makeready.chore_set('files_scan', false, because => 'after a restore the store may be newer than the rows');
  perform makeready.audit('after_restore', 'database', null, null, because);
  return makeready.reap(1000000, false);
end
$$;
comment on function makeready.after_restore(text) is 'Call it once after a restore from a backup, before workers start: whatever the backup shows as running is taken back, as from a lost worker, and the scan for unknown objects stays off until chore_set(''files_scan'', true). Returns how many jobs.';

create or replace function makeready.why(job uuid)
  returns table (reason text, detail text, fix text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job    makeready.jobs;
  v_policy makeready.queues;
  v_lane   makeready.lanes;
  v_now    timestamptz := makeready.now();
  v_n      bigint;
  v_blocks boolean := false;
begin
  select j.* into v_job from makeready.queues q join makeready.jobs j on j.queue = q.queue and j.id = job;
  return query select * from makeready.ingest_why(job, v_job);
  if found then
    return;
  elsif v_job.id is null then
    return query select 'unknown', format('no queue has a job %s', job), 'It may have been pruned, or its transaction has not committed.';
    return;
  elsif v_job.finished_at is not null then
    return query select v_job.state, format('ended %s: %s', v_job.finished_at, coalesce(v_job.error ->> 'message', case v_job.state when 'done' then 'well' else 'no reason was given' end)),
      case when v_job.state = 'done' then 'Nothing to do.' else format('select makeready.retry(%L, %L)', v_job.queue, job) end;
    return;
  elsif v_job.state = 'running' then
    return query select 'running', format('attempt %s on worker %s since %s, until %s', v_job.attempt,
        coalesce((select w.instance from makeready.workers w where w.id = v_job.worker_id), 'unknown'), v_job.started_at, v_job.run_until),
      case when v_job.cancel_at is not null then 'It was asked to stop.' else format('select makeready.job_evict(%L, %L) takes it away', v_job.queue, job) end;
    return;
  end if;
  select * into v_policy from makeready.queues q where q.queue = v_job.queue;
  select * into v_lane from makeready.lanes l where l.queue = v_job.queue and l.lane = v_job.lane;
  if v_job.deadline_at <= v_now then
    v_blocks := true;
    return query select 'deadline_passed', format('its deadline was %s', v_job.deadline_at), 'It expires within a second; enqueue a new one.';
  end if;
  if v_job.run_at = 'infinity' then
    v_blocks := true;
    return query select 'not_admitted', a.detail, a.fix
      from (select format('%s generations are scheduled or in progress, at most %s may be', count(g.id), p.max_active) as detail,
                   case when count(g.id) < p.max_active then 'select makeready.posm_admit(); a chore does so within a minute'
                        else format('select makeready.posm_policy_set(active_limit => %s), or posm_cancel one of posm_overview', p.max_active + 1) end as fix
              from makeready.posm_policy p left join makeready.posm_generations g on g.status = 'scheduled'
             where v_job.queue = 'posm' group by p.max_active
            union all
            select 'it waits until its queue admits it', 'The queue''s own limit decides; see its page of the runbook.' where v_job.queue <> 'posm') a;
  elsif v_job.run_at > v_now then
    v_blocks := true;
    return query select 'not_due', format('due %s, after %s attempts; last error: %s', v_job.run_at, v_job.attempt, coalesce(v_job.error ->> 'message', 'none')),
      format('select makeready.retry(%L, %L) makes it due now', v_job.queue, job);
  end if;
  if v_policy.paused_at is not null then
    v_blocks := true;
    return query select 'paused', format('queue %s is paused since %s', v_job.queue, v_policy.paused_at), format('select makeready.queue_resume(%L)', v_job.queue);
  end if;
  select count(*) into v_n from makeready.jobs j where j.queue = v_job.queue and j.state = 'running';
  if v_n >= v_policy.max_in_flight then
    v_blocks := true;
    return query select 'limit', format('%s of %s jobs are running', v_n, v_policy.max_in_flight),
      format('select makeready.queue_set(%L, ''max_in_flight'', %L)', v_job.queue, (v_policy.max_in_flight + 1)::text);
  end if;
  select count(*) into v_n from makeready.jobs j where j.queue = v_job.queue and j.state = 'running' and j.lane = v_job.lane;
  if v_n >= v_lane.max_in_flight then
    v_blocks := true;
    return query select 'lane_full', format('%s of %s jobs of lane %s are running', v_n, v_lane.max_in_flight, quote_literal(v_job.lane)),
      format('select makeready.lane_set(%L, %L, %s)', v_job.queue, v_job.lane, v_lane.max_in_flight + 1);
  end if;
  if not exists (select from makeready.workers w where v_job.queue = any (w.queues) and not makeready.worker_is_lost(w, v_now)
                    and v_job.host in ('', w.host)) then
    v_blocks := true;
    return query select 'no_worker', case v_job.host when '' then format('no live worker serves queue %s', v_job.queue)
      else format('no live worker on host %s serves queue %s', v_job.host, v_job.queue) end, format('makeready work %s', v_job.queue);
  elsif not exists (select from makeready.workers w where v_job.queue = any (w.queues) and w.draining_at is null
                       and not makeready.worker_is_lost(w, v_now) and v_job.host in ('', w.host)) then
    v_blocks := true;
    return query select 'all_draining', format('every worker of queue %s is stopping', v_job.queue), format('makeready work %s', v_job.queue);
  end if;
  -- Locks are tried, not kept: each attempt is undone by an exception of its own, so asking holds nothing up.
  if v_policy.is_gated then
    begin
      perform 1 from makeready.gates g where g.queue = v_job.queue and g.kind = 'claim' for no key update nowait;
      raise exception using errcode = 'MR000';
    exception when sqlstate 'MR000' then null;
    when lock_not_available then
      return query      -- the row's xmax is the transaction that locked it; others' activity is shown to those who may see it
        select 'gate_held', format('process %s (%s) holds the claim gate since %s: %s', l.pid, coalesce(a.application_name, '?'),
                 coalesce(a.xact_start::text, '?'), left(a.query, 80)), format('select pg_terminate_backend(%s)', l.pid)
          from makeready.gates g
          join pg_catalog.pg_locks l on l.locktype = 'transactionid' and l.granted and l.transactionid = g.xmax
          left join pg_catalog.pg_stat_activity a on a.pid = l.pid
         where g.queue = v_job.queue and g.kind = 'claim';
      v_blocks := v_blocks or found;      -- released meanwhile: no reason any more
    end;
  end if;
  begin
    perform 1 from makeready.jobs j where j.queue = v_job.queue and j.id = job for no key update nowait;
    raise exception using errcode = 'MR000';
  exception when sqlstate 'MR000' then null;
  when lock_not_available then
    v_blocks := true;
    return query select 'row_locked', 'another session holds the job''s row', 'Look for an open transaction in pg_stat_activity.';
  end;
  select count(*) into v_n
    from (select from makeready.jobs j
           where j.queue = v_job.queue and j.state = 'queued' and j.lane = v_job.lane and j.host = v_job.host
             and (j.priority, j.turn, j.run_at, j.id) < (v_job.priority, v_job.turn, v_job.run_at, v_job.id) limit 10000) a;
  if v_n > 0 then
    return query select 'behind', format('%s%s jobs of its lane come first', case v_n when 10000 then 'at least ' else '' end, v_n), 'More workers or a higher limit.';
  elsif not v_blocks then
    return query select 'next', 'it can be claimed now', 'A free worker takes it at once, or within two seconds where its hint was lost.';
  end if;
end
$$;
comment on function makeready.why(uuid) is 'Why a job is not running: every reason that holds, in detail, and what to do about it.';

create or replace view makeready.queue_overview as
  select q.queue, q.paused_at, q.closed_at, q.max_in_flight, q.max_open,
         (select count(*) from makeready.jobs j where j.queue = q.queue and j.state = 'running') as running,
         (select count(*) from (select from makeready.jobs j where j.queue = q.queue and j.state = 'queued' limit 10000) x) as queued_to_10000,
         (select count(*) from (select from makeready.jobs j where j.queue = q.queue and j.state = 'waiting' limit 10000) x) as waiting_to_10000,
         (select count(*) from (select from makeready.jobs j where j.queue = q.queue and j.state = 'dead' limit 10000) x) as dead_to_10000,
         (select count(*) from makeready.workers w where q.queue = any (w.queues) and not makeready.worker_is_lost(w, makeready.now())) as workers,
         m.minute as last_minute, m.done as last_minute_done, m.wait_p95_ms, m.run_p95_ms
    from makeready.queues q
    left join lateral (select * from makeready.queue_minutes m where m.queue = q.queue order by m.minute desc limit 1) m on true;
comment on view makeready.queue_overview is 'Each queue at a glance; counts stop at 10,000.';

create or replace view makeready.running_jobs as
  select j.queue, j.id, j.seat, j.lane, j.attempt, j.lost, w.instance, makeready.now() - j.started_at as running_for,
         j.run_until - makeready.now() as time_left, makeready.now() - w.beat_at as beat_age, left(j.lease::text, 8) as lease_begins, j.cancel_at
    from makeready.queues q join makeready.jobs j on j.queue = q.queue and j.state = 'running'
    left join makeready.workers w on w.id = j.worker_id;
comment on view makeready.running_jobs is 'What runs, where and for how long.';

create or replace view makeready.dead_jobs as
  select d.queue, d.error ->> 'code' as error_code, count(*) as jobs, min(d.finished_at) as first_at, max(d.finished_at) as last_at,
         (array_agg(d.id order by d.finished_at desc))[1] as latest_job, max(d.error ->> 'message') as a_message
    from makeready.queues q
   cross join lateral (select j.* from makeready.jobs j where j.queue = q.queue and j.state = 'dead' order by j.finished_at desc limit 10000) d
   group by d.queue, d.error ->> 'code';
comment on view makeready.dead_jobs is 'Dead jobs by queue and error; of the latest 10,000 a queue.';

create or replace view makeready.worker_overview as
  select w.instance, w.host, w.pid, w.version, w.queues, w.tasks,
         (select count(*) from makeready.jobs j join makeready.queues q on q.queue = j.queue
           where j.worker_id = w.id and j.state = 'running') as running,
         makeready.now() - w.beat_at as beat_age, makeready.worker_is_lost(w, makeready.now()) as is_lost, w.draining_at, w.started_at
    from makeready.workers w;
comment on view makeready.worker_overview is 'Processes that claim, what they hold, and whether they are alive.';

create or replace view makeready.attempt_history as
  select a.queue, a.job_id, a.attempt, a.outcome, a.error, a.worker_id, a.started_at, a.ended_at
    from makeready.attempts a
   union all
  select j.queue, j.id, j.attempt, 'done', null, j.worker_id, j.started_at, j.finished_at
    from makeready.jobs j where j.state = 'done';
comment on view makeready.attempt_history is 'All attempts of a job: select * from makeready.attempt_history where queue = … and job_id = … order by ended_at.';

create or replace view makeready.next_jobs as
  select q.queue, j.lane, j.id, j.priority, j.turn, j.run_at, j.owner, j.attempt, j.lost, j.created_at
    from makeready.lanes l
    join makeready.queues q on q.queue = l.queue
   cross join lateral (select * from makeready.jobs j
                        where j.queue = q.queue and j.state = 'queued' and j.lane = l.lane
                        order by j.host, j.priority, j.turn, j.run_at, j.id limit 50) j
   order by q.queue, j.lane, j.priority, j.turn, j.run_at, j.id;
comment on view makeready.next_jobs is 'The next 50 jobs of each lane, those that run anywhere before those bound to a host, in the order in which they will be claimed.';

create or replace view makeready.horizon_holders as
  select 'session' as kind, a.pid::text as holder, a.application_name as name, clock_timestamp() - a.xact_start as since,
         left(a.query, 80) as query, format('select pg_terminate_backend(%s)', a.pid) as fix
    from pg_catalog.pg_stat_activity a
   where a.backend_xmin is not null and a.xact_start < clock_timestamp() - interval '10 seconds'
   union all
  select 'prepared transaction', p.gid, p.owner::text, clock_timestamp() - p.prepared, null, format('rollback prepared %L', p.gid)
    from pg_catalog.pg_prepared_xacts p
   union all
  select 'replication slot', s.slot_name::text, s.plugin::text, null, null, format('select pg_drop_replication_slot(%L)', s.slot_name)
    from pg_catalog.pg_replication_slots s where s.xmin is not null or s.catalog_xmin is not null;
comment on view makeready.horizon_holders is 'Who keeps dead rows from being cleaned, which slows every claim, and the call that ends it.';

create or replace view makeready.job_storage as
  select t.relname as partition, t.n_live_tup as live_rows, t.n_dead_tup as dead_rows, t.last_autovacuum, t.last_autoanalyze,
         pg_catalog.pg_size_pretty(pg_catalog.pg_total_relation_size(t.relid)) as size
    from pg_catalog.pg_stat_user_tables t
    join pg_catalog.pg_inherits i on i.inhrelid = t.relid and i.inhparent = 'makeready.jobs'::regclass;
comment on view makeready.job_storage is 'Dead rows, vacuum and size of each queue''s table.';

create or replace view makeready.metrics as
  select 'makeready_jobs'::text as name, jsonb_build_object('queue', o.queue, 'state', s.state) as labels, s.n::float8 as value
    from makeready.queue_overview o
   cross join lateral (values ('running', o.running), ('queued', o.queued_to_10000), ('waiting', o.waiting_to_10000), ('dead', o.dead_to_10000)) s (state, n)
   union all
  select 'makeready_workers', jsonb_build_object('queue', o.queue), o.workers from makeready.queue_overview o
   union all
  select 'makeready_paused', jsonb_build_object('queue', o.queue), (o.paused_at is not null)::integer from makeready.queue_overview o
   union all
  select 'makeready_jobs_last_minute', jsonb_build_object('queue', m.queue, 'outcome', v.outcome), v.n
    from makeready.queues q
   -- The clock is read once, not for each minute of a month; offset 0: one probe by key for each queue.
   cross join lateral (select * from makeready.queue_minutes x
                        where x.queue = q.queue and x.minute = (select date_trunc('minute', makeready.now()) - interval '1 minute')
                       offset 0) m
   cross join lateral (values ('done', m.done), ('dead', m.dead), ('cancelled', m.cancelled), ('expired', m.expired),
                              ('retried', m.retried), ('lost', m.lost)) v (outcome, n)
   union all
  select 'makeready_chore_failures', jsonb_build_object('chore', c.chore), c.failures from makeready.chores c;
comment on view makeready.metrics is 'name, labels, value: one query for any exporter.';
