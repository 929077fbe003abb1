-- Ingest, working: what a claimed photo's worker is told, what it offers to a provider, and the good end.

create or replace function makeready.ingest_is_awaited(waiting uuid[], moment timestamptz)
  returns boolean
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  -- In doubt yes: after an outage of the database no session has come back yet, and no beat.
  select exists (select from makeready.workers w where w.id = any (waiting)
                    and (not makeready.worker_is_lost(w, moment)
                         or moment < (select r.trusts_after from makeready.reaper r)
                         or moment < pg_postmaster_start_time() + interval '10 seconds'))
$$;
comment on function makeready.ingest_is_awaited(uuid[], timestamptz) is
  'Whether one of the processes whose requests wait for a photo is alive, as far as anybody can tell. Internal.';

create or replace function makeready.ingest_hold(job uuid, token uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  perform 1 from makeready.jobs j
    where j.queue = 'ingest' and j.id = job and j.lease = token and j.deadline_at > makeready.now() for no key update;
  if not found then
    perform makeready.refuse_lost('ingest', job);
  end if;
end
$$;
comment on function makeready.ingest_hold(uuid, uuid) is 'Locks a photo''s job if the lease on it is held and its deadline has not passed; else MR001. Internal.';

drop function if exists makeready.ingest_begin(uuid, uuid);
create or replace function makeready.ingest_begin(job uuid)
  returns jsonb
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_photo   makeready.photos;
  v_payload jsonb;
  v_chain   jsonb;
  v_now     timestamptz := makeready.now();
begin
  select * into v_photo from makeready.photos p where p.id = job;
  if not found then          -- a job that was made by hand has nothing to begin with; its neighbours go on
    return '{}';
  end if;
  select makeready.media_facts(m.store, m.path, m.mime, m.size_bytes, m.sha256) into v_payload
    from makeready.media_objects m where m.job_id = job and m.kind = 'payload';
  select coalesce(jsonb_agg(jsonb_build_object(
           'provider', p.id, 'kind', p.kind, 'options', p.options, 'max_parallel', p.max_parallel,
           'operation', s.step ->> 'operation_id', 'settings', coalesce(s.step -> 'settings', '{}'),
           'keys', (select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'nonce', encode(k.nonce, 'hex'), 'sealed', encode(k.sealed, 'hex'),
                                                                 'rests_s', greatest(0, extract(epoch from k.rests_until - v_now)))
                                              order by k.rests_until nulls first, k.created_at, k.id), '[]')
                      from makeready.provider_keys k where k.provider_id = p.id and (k.rests_until is null or k.rests_until < v_photo.expires_at)))
           order by s.place), '[]')
    into v_chain
    from jsonb_array_elements(v_photo.chain) with ordinality s (step, place)
    join makeready.providers p on p.id = s.step ->> 'provider_id' and p.is_enabled;
  insert into makeready.processing_logs (job_id, slot_id, provider_id, status, occurred_at, details)
  values (job, v_photo.slot_id, v_photo.provider_id, 'dispatched', v_now,
          jsonb_build_object('provider_id', v_photo.provider_id, 'queue_wait_ms', (extract(epoch from v_now - v_photo.created_at) * 1000)::integer));
  return jsonb_build_object('slot', v_photo.slot_id, 'chain', v_chain, 'payload', v_payload, 'templates', v_photo.templates,
                            'public_id', v_photo.public_id, 'is_awaited', makeready.ingest_is_awaited(v_photo.waiters, v_now));
end
$$;
comment on function makeready.ingest_begin(uuid) is
  'What the worker of a photo that was claimed in this transaction needs: {slot, chain: [{provider, kind, operation, settings, options, max_parallel, keys: [{id, nonce, sealed, rests_s}]}], payload, templates, is_awaited, public_id}; the chain as the photo was let in, without providers that are disabled by now, with keys that may be used before the deadline, in rests_s seconds; {} where there is no photo. Internal: ingest_claim calls it.';

create or replace function makeready.ingest_claim(queue_names text[], worker uuid, max_jobs integer default 1)
  returns setof makeready.jobs
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job makeready.jobs;
begin
  for v_job in select * from makeready.claim(queue_names, worker, max_jobs) loop
    v_job.payload := makeready.ingest_begin(v_job.id);
    return next v_job;
  end loop;
end
$$;
comment on function makeready.ingest_claim(text[], uuid, integer) is
  'As claim, for the queue ingest: each photo is begun in the same transaction, and its job''s payload is what ingest_begin says. Does not wait for the disk.';

create or replace function makeready.ingest_offer(job uuid, token uuid, stored jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
begin
  perform makeready.ingest_async();
  perform makeready.ingest_hold(job, token);
  insert into makeready.media_objects as m (id, kind, store, path, mime, size_bytes, sha256, job_id, created_at, expires_at)
  select p.public_id, 'prepared', stored ->> 'store', stored ->> 'path', stored ->> 'media_type', (stored ->> 'size_bytes')::bigint,
         decode(stored ->> 'sha256', 'hex'), job, makeready.now(), p.expires_at
    from makeready.photos p where p.id = job
  on conflict on constraint media_objects_pk do update
     set store = excluded.store, path = excluded.path, mime = excluded.mime, size_bytes = excluded.size_bytes, sha256 = excluded.sha256;
end
$$;
comment on function makeready.ingest_offer(uuid, uuid, jsonb) is
  'Lets the prepared image of a photo be fetched under its public_id until the deadline; again for another one in its place. MR001: the lease is lost.';

create or replace function makeready.ingest_scalars(facts jsonb)
  returns jsonb
  language sql
  immutable
  security definer
  set search_path = ''
as $$
  select coalesce(jsonb_object_agg(e.key, case jsonb_typeof(e.value) when 'string' then to_jsonb(left(e.value #>> '{}', 500)) else e.value end), '{}')
    from (select x.key, x.value from jsonb_each(case jsonb_typeof(facts) when 'object' then facts else '{}' end) x
           where jsonb_typeof(x.value) in ('string', 'number', 'boolean') order by x.key limit 40) e
$$;
comment on function makeready.ingest_scalars(jsonb) is 'What of an object may stand in the log: numbers, truth values, short texts. Internal.';

create or replace function makeready.ingest_finish(job uuid, token uuid, stored jsonb, facts jsonb default '{}')
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_verdict text;
  v_job     makeready.jobs;
  v_photo   makeready.photos;
  v_details jsonb := makeready.ingest_scalars(facts);
begin
  perform makeready.ingest_async();
  v_verdict := makeready.finish('ingest', job, token, v_details || jsonb_build_object('stored', stored));   -- for who waits
  if v_verdict <> 'ok' then
    return v_verdict;          -- this lease has done so before; the answer was lost
  end if;
  select * into v_job from makeready.jobs j where j.queue = 'ingest' and j.id = job;
  update makeready.photos p
     set started_at = v_job.started_at, finished_at = v_job.finished_at, done_by = left(facts ->> 'provider', 60),
         provider_reference = left(facts ->> 'reference', 500), provider_latency_ms = (facts ->> 'provider_latency_ms')::float8,
         cost = (facts ->> 'cost')::numeric, result_store = stored ->> 'store', result_path = stored ->> 'path', result_mime = stored ->> 'media_type',
         result_size_bytes = (stored ->> 'size_bytes')::bigint, result_sha256 = decode(stored ->> 'sha256', 'hex'),
         result_expires_at = v_job.finished_at + make_interval(hours => (select i.result_retention_hours from makeready.ingest_policy i))
   where p.id = job and p.finished_at is null
  returning p.* into v_photo;
  if not found then
    raise exception 'job % has no photo', job
      using errcode = 'MR404', detail = json_build_object('code', 'job_not_found', 'job_id', job), hint = 'Photos are let in by makeready.ingest_admit.';
  end if;
  v_details := v_details || jsonb_build_object('provider_id', coalesce(v_photo.done_by, v_photo.provider_id), 'attempt', v_job.attempt);
  if v_photo.provider_reference is not null then
    v_details := v_details || jsonb_build_object('provider_reference', v_photo.provider_reference);
  end if;
  insert into makeready.processing_logs (job_id, slot_id, provider_id, status, occurred_at, details, provider_latency_ms)
  values (job, v_photo.slot_id, coalesce(v_photo.done_by, v_photo.provider_id), 'provider_responded', v_photo.finished_at, v_details, v_photo.provider_latency_ms),
         (job, v_photo.slot_id, coalesce(v_photo.done_by, v_photo.provider_id), 'succeeded', v_photo.finished_at,
          jsonb_build_object('provider_id', coalesce(v_photo.done_by, v_photo.provider_id), 'result_file_path', v_photo.result_path,
                             'result_checksum', stored ->> 'sha256', 'expires_at', v_photo.expires_at, 'inline_preview', false,
                             'total_ms', (extract(epoch from v_photo.finished_at - v_photo.created_at) * 1000)::integer), v_photo.provider_latency_ms);
  return v_verdict;
end
$$;
comment on function makeready.ingest_finish(uuid, uuid, jsonb, jsonb) is
  'Ends a photo as a success: job, result and log in one transaction; ok, or repeat when this lease has done so before. stored: as in ingest_admit; facts: provider, operation, reference, provider_latency_ms, attempts, cost, calls. MR001: the lease is lost or the deadline has passed, delete what was stored. Does not wait for the disk, unless is_durable.';

create or replace function makeready.ingest_pictured(job uuid, before_stored jsonb, after_stored jsonb)
  returns boolean
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.photos p set before_picture = before_stored, after_picture = after_stored
   where p.id = ingest_pictured.job and p.result_path is not null
  returning true
$$;
comment on function makeready.ingest_pictured(uuid, jsonb, jsonb) is 'Keeps the thumbnails of a photo with its result; null: there is no result any more, delete them.';

create or replace function makeready.provider_key_rests(provider_key uuid, seconds float8, because text default null)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.provider_keys k
     set rests_until = greatest(k.rests_until, makeready.now() + make_interval(secs => least(greatest(seconds, 0), 86400))),
         rests_why = left(because, 200)
   where k.id = provider_key
$$;
comment on function makeready.provider_key_rests(uuid, float8, text) is 'A provider has refused a key, or its quota is used up: it is not handed out for so many seconds, a day at most.';

grant execute on function makeready.ingest_claim(text[], uuid, integer), makeready.ingest_offer(uuid, uuid, jsonb), makeready.ingest_finish(uuid, uuid, jsonb, jsonb),
  makeready.ingest_pictured(uuid, jsonb, jsonb), makeready.provider_key_rests(uuid, float8, text) to makeready_worker;
