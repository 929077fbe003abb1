-- Ingest, admission: what holds at the door, who is let in, and who is told at once that it would be in vain.
--
-- Open photos are counted behind the queue's `admit` gate, in a statement of its own, as everywhere; those past their
-- deadline are not counted, whether or not anybody has swept them up. A photo that comes again is told from a new one
-- before anything is counted: a duplicate is never refused.

create or replace function makeready.ingest_async()
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select set_config('synchronous_commit', 'off', true) from makeready.ingest_policy p where not p.is_durable
$$;
comment on function makeready.ingest_async() is 'The caller''s transaction does not wait for the disk, unless the policy says so. Internal.';

create or replace function makeready.ingest_slot(slot_key text)
  returns makeready.slots
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_slot   makeready.slots;
  v_closed timestamptz;
  v_paused timestamptz;
begin
  select * into v_slot from makeready.slots s where s.id = slot_key and s.is_enabled;
  if not found then
    raise exception 'there is no slot %', coalesce(quote_literal(slot_key), 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'slot_not_found', 'slot_id', slot_key),
            hint = 'slot-001 to slot-015; one that is disabled takes no photo.';
  end if;
  select q.closed_at, q.paused_at into v_closed, v_paused from makeready.queues q where q.queue = 'ingest';
  if v_closed is not null or v_paused is not null or not exists (select from makeready.providers p where p.id = v_slot.provider_id and p.is_enabled) then
    raise exception 'slot % takes no photo now: %', slot_key,
          case when v_closed is not null then 'the queue is closed' when v_paused is not null then 'the queue is paused'
               else 'its provider is disabled' end
      using errcode = 'MR503', detail = json_build_object('code', 'queue_unavailable', 'slot_id', slot_key,
              'reason', case when v_closed is not null then 'closed' when v_paused is not null then 'paused' else 'provider_disabled' end),
            hint = 'makeready.queue_open, makeready.queue_resume, or another provider for the slot.';
  end if;
  return v_slot;
end
$$;
comment on function makeready.ingest_slot(text) is 'A slot that takes photos; MR404 slot_not_found, MR503 while its queue is closed or paused or its provider disabled. Internal.';

create or replace function makeready.ingest_open(moment timestamptz)
  returns table (job uuid, job_state text, job_lane text, job_slot text, since timestamptz, until timestamptz, job_worker uuid)
  language sql
  stable
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
  -- One statement, so one snapshot, in which each job is in exactly one state whatever moves meanwhile.
  select j.id, j.state, j.lane, j.owner, j.started_at, j.deadline_at, j.worker_id
    from makeready.jobs j where j.queue = 'ingest' and j.state = 'running' and j.deadline_at > moment
   union all
  select j.id, j.state, j.lane, j.owner, j.run_at, j.deadline_at, null
    from makeready.jobs j where j.queue = 'ingest' and j.state = 'queued' and j.deadline_at > moment
   union all
  select j.id, j.state, j.lane, j.owner, j.run_at, j.deadline_at, null
    from makeready.jobs j where j.queue = 'ingest' and j.state = 'waiting' and j.deadline_at > moment
$$;
comment on function makeready.ingest_open(timestamptz) is
  'Photos that are open and not past their deadline; since: when it was claimed, or else let in. Internal.';

create or replace function makeready.ingest_refuse(slot_key text, why_refused text, counted text, jobs_open bigint, most_open bigint, wait_s float8)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  raise exception 'slot % cannot take a photo now: %', slot_key,
        case why_refused when 'deadline' then 'it would not be ready in time' else format('%s of %s are open', jobs_open, most_open) end
    using errcode = 'MR429', hint = 'Try again when some have ended.',
          detail = json_build_object('code', 'queue_busy', 'slot_id', slot_key, 'reason', why_refused, 'scope', counted, 'in_flight', jobs_open,
                                     'limit', most_open, 'retry_after_s', greatest(1, least(60, ceil(wait_s))));
end
$$;
comment on function makeready.ingest_refuse(text, text, text, bigint, bigint, float8) is 'Raises MR429 queue_busy: limit or deadline, with the numbers of all or of the slot, and retry_after_s. Internal.';

create or replace function makeready.ingest_refuse_full(of_slot makeready.slots, moment timestamptz)
  returns bigint
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_most bigint;
  v_open bigint;
  v_mine bigint;
  v_next float8;
begin
  select q.max_open into v_most from makeready.queues q where q.queue = 'ingest';
  select count(*), count(*) filter (where o.job_slot = of_slot.id), extract(epoch from min(o.until) - moment)
    into v_open, v_mine, v_next from makeready.ingest_open(moment) o;
  if v_open >= v_most then
    perform makeready.ingest_refuse(of_slot.id, 'limit', 'all', v_open, v_most, least(v_next, makeready.retry_after('ingest')));
  elsif v_mine >= of_slot.max_open then
    perform makeready.ingest_refuse(of_slot.id, 'limit', 'slot', v_mine, of_slot.max_open, least(v_next, makeready.retry_after('ingest')));
  end if;
  return v_open;
end
$$;
comment on function makeready.ingest_refuse_full(makeready.slots, timestamptz) is
  'Raises MR429 when the limit of all slots or of this one is reached; else how many are open. Exact only behind the gate. Internal.';

create or replace function makeready.ingest_door(slot_key text, client text, may_repeat boolean default false)
  returns table (slot text, max_bytes bigint, max_pixels integer, media_types text[], password_hash text, password_version integer,
                 min_free_bytes bigint)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_now  timestamptz := makeready.now();
  v_slot makeready.slots := makeready.ingest_slot(slot_key);
  v_wait float8;
begin
  select extract(epoch from t.hits[cardinality(t.hits) - r.tries + 1] + r.span - v_now) into v_wait
    from makeready.throttles t join makeready.throttle_rules r on r.rule = t.rule
   where t.rule = 'ingest_password' and t.subject_hash = sha256(convert_to(slot_key || ' ' || client, 'UTF8')) and cardinality(t.hits) >= r.tries;
  if v_wait > 0 then
    raise exception 'too many wrong passwords for slot %', slot_key
      using errcode = 'MR429', hint = 'Wait, then try again.', detail = json_build_object('code', 'rate_limited', 'retry_after_s', ceil(v_wait));
  end if;
  if not may_repeat and not v_slot.joins_resent then      -- one that is there already is never refused; its bytes tell
    perform makeready.ingest_refuse_full(v_slot, v_now);
  end if;
  return query
    select v_slot.id, v_slot.max_bytes, v_slot.max_pixels,
           case when p.kind = 'turbotext' or p.options -> 'requires_public_media' = 'true' then array['image/jpeg', 'image/png', 'image/webp']
                else array['image/jpeg', 'image/png', 'image/webp', 'image/heic', 'image/heif'] end,
           w.password_hash, w.version, i.min_free_bytes
      from makeready.providers p, makeready.ingest_password w, makeready.ingest_policy i
     where p.id = v_slot.provider_id;
end
$$;
comment on function makeready.ingest_door(text, text, boolean) is
  'What holds for a photo before its body is read. MR404 slot_not_found, MR429 rate_limited after too many wrong passwords, MR429 queue_busy while it is full (unless the request may be a repeated one), MR503. Decides nothing: ingest_admit does.';

create or replace function makeready.ingest_password_tried(slot_key text, client text)
  returns void language sql volatile security definer set search_path = ''
as $$ select makeready.throttle_take('ingest_password', slot_key || ' ' || client) $$;
comment on function makeready.ingest_password_tried(text, text) is
  'Counts a password that is not known to be right, before it is looked at; MR429 rate_limited. In a transaction of its own.';

create or replace function makeready.ingest_password_right(slot_key text, client text)
  returns void language sql volatile security definer set search_path = ''
as $$ select makeready.throttle_clear('ingest_password', slot_key || ' ' || client) $$;
comment on function makeready.ingest_password_right(text, text) is 'It was right: its tries are forgotten.';

create or replace function makeready.ingest_join(photo uuid, waiting uuid, only_open boolean)
  returns timestamptz
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.photos p set waiters = p.waiters || waiting
   where p.id = photo and (p.finished_at is null or not only_open)
  returning p.expires_at
$$;
comment on function makeready.ingest_join(uuid, uuid, boolean) is
  'One more request is answered by a photo, which must be open if only_open: until when, or null if there is none such. Internal.';

create or replace function makeready.ingest_again(of_slot makeready.slots, hash_sha256 bytea, waiting uuid, wanted_chain jsonb, wanted_templates jsonb,
    replay_for integer, moment timestamptz)
  returns table (photo uuid, photo_verdict text, photo_until timestamptz)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
declare
  v_photo makeready.photos;
begin
  select * into v_photo from makeready.photos p
   where p.slot_id = of_slot.id and p.payload_sha256 = hash_sha256 and p.created_at > moment - make_interval(secs => 60 + replay_for)
   order by p.created_at desc, p.id limit 1;
  if not found or v_photo.chain <> wanted_chain or v_photo.templates <> wanted_templates then
    return;
  end if;
  if v_photo.finished_at is null and v_photo.expires_at > moment and makeready.ingest_join(v_photo.id, waiting, true) is not null then
    return query select v_photo.id, 'joined', v_photo.expires_at;
    return;
  end if;
  return query      -- read again: it may have ended while it was to be joined
    update makeready.photos p set waiters = p.waiters || waiting
     where p.id = v_photo.id and p.result_path is not null and p.finished_at > moment - make_interval(secs => replay_for)
       and p.result_expires_at > moment
    returning p.id, 'replayed', p.expires_at;
end
$$;
comment on function makeready.ingest_again(makeready.slots, bytea, uuid, jsonb, jsonb, integer, timestamptz) is
  'The photo that a re-sent image is: joined while it is open, replayed soon after a success; no row: it is a new one. Behind the gate. Internal.';

drop function if exists makeready.ingest_admit(uuid, text, jsonb, jsonb, uuid, text, jsonb, text);
create or replace function makeready.ingest_admit(job uuid, slot_key text, stored jsonb, came_with jsonb, waiting uuid, came_from text default 'booth',
    overrides jsonb default null, repeat_key text default null, and_claim boolean default false)
  returns table (job_id uuid, verdict text, expires_at timestamptz, seconds_left float8, claimed makeready.jobs)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_policy    makeready.ingest_policy;
  v_slot      makeready.slots := makeready.ingest_slot(slot_key);
  v_host      text := case when stored ->> 'store' like 'folder:%' then stored ->> 'store' else '' end;      -- who reaches it; a bucket all do
  v_hash      bytea := decode(stored ->> 'sha256', 'hex');
  v_chain     jsonb;
  v_templates jsonb;
  v_lane      text;
  v_verdict   text;
  v_photo     uuid;
  v_until     timestamptz;
  v_open      bigint;
  v_outlook   record;
  v_now       timestamptz;
  v_claimed   makeready.jobs;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    perform makeready.refuse_unless_read_committed('ingest_admit');
  end if;
  perform makeready.ingest_async();
  select * into v_policy from makeready.ingest_policy;
  if not exists (select from makeready.workers w where w.id = waiting) then
    raise exception 'process % is not registered', waiting
      using errcode = 'MR503', detail = json_build_object('code', 'queue_unavailable', 'reason', 'not_registered', 'worker', waiting),
            hint = 'It registers again at its next beat; then it may let photos in.';
  end if;
  v_lane := coalesce(overrides ->> 'provider_id', v_slot.provider_id);
  v_chain := jsonb_build_array(jsonb_build_object('provider_id', v_lane, 'operation_id', coalesce(overrides ->> 'operation_id', v_slot.operation_id),
                 'settings', case when overrides ->> 'provider_id' <> v_slot.provider_id or overrides ->> 'operation_id' <> v_slot.operation_id
                                  then '{}' else v_slot.settings_json end || coalesce(overrides -> 'settings_json', '{}')))
             || coalesce(overrides -> 'fallbacks', v_slot.fallbacks);
  if v_lane <> v_slot.provider_id and not exists (select from makeready.providers p where p.id = v_lane and p.is_enabled) then
    raise exception 'there is no provider % that could be asked', quote_literal(v_lane)
      using errcode = 'MR422', detail = json_build_object('code', 'validation_failed', 'provider_id', v_lane),
            hint = 'select id from makeready.providers where is_enabled lists them.';
  end if;
  select coalesce(jsonb_object_agg(t.setting_key, makeready.media_facts(t.store, t.path, t.mime, t.size_bytes, t.checksum)), '{}')
    into v_templates from makeready.slot_templates t where t.slot_id = slot_key;

  for v_try in 1 .. 5 loop
    exit when repeat_key is null;
    select t.verdict, t.target_id into v_verdict, v_photo
      from makeready.request_take('slot ' || slot_key, 'ingest', repeat_key, v_hash, 'ingest', job) t;
    exit when v_verdict = 'created';
    v_until := makeready.ingest_join(v_photo, waiting, v_verdict = 'joined');
    if v_until is not null then
      return query select v_photo, v_verdict, v_until, greatest(0, extract(epoch from v_until - makeready.now())::float8), null::makeready.jobs;
      return;
    end if;            -- it ended this moment: the key says anew what that means
    if v_try = 5 then
      raise exception 'photo % is ending just now', v_photo using errcode = '40001', hint = 'Repeat the transaction.';
    end if;
  end loop;

  perform 1 from makeready.gates g where g.queue = 'ingest' and g.kind = 'admit' for no key update;
  v_now := makeready.now();
  select p.expires_at into v_until from makeready.photos p where p.id = job and p.payload_sha256 = v_hash and p.slot_id = slot_key;
  if found then      -- this very call again: the answer to the first was lost
    return query select job, 'created'::text, v_until, greatest(0, extract(epoch from v_until - v_now)::float8), null::makeready.jobs;
    return;
  end if;
  if v_slot.joins_resent and overrides is null then
    select a.photo, a.photo_verdict, a.photo_until into v_photo, v_verdict, v_until
      from makeready.ingest_again(v_slot, v_hash, waiting, v_chain, v_templates, v_policy.replay_s, v_now) a;
    if found then
      update makeready.requests r set resource = v_photo      -- its key means that photo from now on
       where r.scope = 'slot ' || slot_key and r.operation = 'ingest' and r.key = repeat_key;
      return query select v_photo, v_verdict, v_until, greatest(0, extract(epoch from v_until - v_now)::float8), null::makeready.jobs;
      return;
    end if;
  end if;
  v_open := makeready.ingest_refuse_full(v_slot, v_now);
  if v_policy.refuses_late and v_open > 0 then
    select * into v_outlook from makeready.ingest_outlook(v_lane, v_host, v_now);
    -- A worker stops a second before the deadline, or earlier where the whole window is short.
    if v_outlook.is_busy and v_outlook.known >= 5
       and v_outlook.wait_s + v_outlook.p85_s > v_policy.sync_response_s - least(1, v_policy.sync_response_s / 45) then
      perform makeready.ingest_refuse(slot_key, 'deadline', 'all', v_open, (select q.max_open from makeready.queues q where q.queue = 'ingest'),
                                      v_outlook.wait_s + v_outlook.p85_s - v_policy.sync_response_s);
    end if;
  end if;
  v_until := v_now + make_interval(secs => v_policy.sync_response_s);
  insert into makeready.jobs (queue, id, state, run_at, deadline_at, lane, host, owner, payload, created_at)
  values ('ingest', job, 'queued', v_now, v_until, v_lane, v_host, slot_key, '{}', v_now);
  insert into makeready.photos (id, slot_id, provider_id, source, chain, templates, intake, payload_sha256, waiters, created_at, expires_at)
  values (job, slot_key, v_lane, came_from, v_chain, v_templates, came_with, v_hash, array[waiting], v_now, v_until);
  insert into makeready.media_objects (id, kind, store, path, mime, size_bytes, sha256, job_id, created_at, expires_at)
  values (gen_random_uuid(), 'payload', stored ->> 'store', stored ->> 'path', stored ->> 'media_type', (stored ->> 'size_bytes')::bigint, v_hash,
          job, v_now, v_until);
  insert into makeready.processing_logs (job_id, slot_id, provider_id, status, occurred_at, details)
  values (job, slot_key, v_lane, 'received', v_now,
          jsonb_build_object('provider_id', v_lane, 'expires_at', v_until, 'payload_path', stored ->> 'path', 'source', came_from));
  -- The claim's transaction does not wait for the disk, and this is the claim's as well. One that may not claim has its photo
  -- let in all the same: others take it.
  if and_claim and not v_policy.is_durable
     and exists (select from makeready.workers w where w.id = waiting and w.draining_at is null and w.beat_at >= makeready.now() - w.stale_after) then
    -- Only tried: waited for behind this gate, it would hold up everybody who is to be let in.
    perform 1 from makeready.gates g where g.queue = 'ingest' and g.kind = 'claim' for no key update skip locked;
    if found then
      select * into v_claimed from makeready.ingest_claim(array['ingest'], waiting);
    end if;
  end if;
  return query select job, 'created'::text, v_until, extract(epoch from v_until - v_now)::float8, v_claimed;
end
$$;
comment on function makeready.ingest_admit(uuid, text, jsonb, jsonb, uuid, text, jsonb, text, boolean) is
  'Lets a photo in whose payload lies in the store (stored: store, path, media_type, size_bytes, sha256 in hex): created, joined (the same image is being processed) or replayed (it has been). waiting: the worker id of the process. overrides: provider_id, operation_id, settings_json, fallbacks in place of the slot''s. and_claim: the process has a free task; what it is to do first is claimed for it in the same call, this photo unless another has waited longer (claimed: as ingest_claim; null while somebody else claims). Never more than max_open are open: MR429 with reason limit or deadline; MR404, MR503; MR422 when the key belongs to another image; MR010. Does not wait for the disk, unless is_durable.';

create or replace function makeready.ingest_refused(slot_keys text[], reasons text[], in_minutes timestamptz[], counts integer[])
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.ingest_async();
  insert into makeready.ingest_refusals as r (slot_id, reason, minute, refused)
  select s.id, f.why, date_trunc('minute', f.at), sum(f.n)
    from unnest(slot_keys, reasons, in_minutes, counts) f (slot_key, why, at, n) join makeready.slots s on s.id = f.slot_key
   group by 1, 2, 3 order by 1, 2, 3      -- two callers wait for each other, not in a circle
  on conflict on constraint ingest_refusals_pk do update set refused = r.refused + excluded.refused
$$;
comment on function makeready.ingest_refused(text[], text[], timestamptz[], integer[]) is
  'Counts requests that were refused before there was a photo, by slot, reason and minute: 429 by limit, slot_limit or deadline; 503 and 500 as unavailable. Slots that there are not are left out.';

grant execute on function makeready.ingest_door(text, text, boolean), makeready.ingest_password_tried(text, text),
  makeready.ingest_password_right(text, text), makeready.ingest_admit(uuid, text, jsonb, jsonb, uuid, text, jsonb, text, boolean),
  makeready.ingest_refused(text[], text[], timestamptz[], integer[]) to makeready_http;
