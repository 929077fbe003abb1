-- Deliver: messages to programs elsewhere, users' webhooks (060_webhooks) and alerts to operators (048_alerts).
--
-- A receiver may hang, and a job that hangs holds a task of a worker. So few are sent at a time, over all workers; one
-- that struggles shares a single seat with its like, and so do alerts. Where there is much to send, run workers for this
-- queue alone and raise max_in_flight.

create table if not exists makeready.deliver_jobs partition of makeready.jobs for values in ('deliver')
  with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
comment on table makeready.deliver_jobs is 'Jobs of the queue deliver: each sends one message.';
-- Pauses of 5 s, 30 s, 3 min, 18 min, 1.8 h, 6 h, 6 h: a receiver that is mended within the night gets everything.
select makeready.queue_create('deliver', '{"is_fair": "true", "max_in_flight": "2", "attempt_limit": "1 minute", "max_attempts": "8",
                                           "retry_base": "5 seconds", "retry_factor": "6", "retry_cap": "6 hours", "keep_done": "1 day"}');
insert into makeready.lanes (queue, lane, max_in_flight) values ('deliver', 'struggling', 1), ('deliver', 'alerts', 1) on conflict do nothing;

create or replace function makeready.deliver_alert(alert uuid)
  returns table (how_severe text, what text, facts jsonb, from_request text, recorded_at timestamptz)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select a.severity, a.event, a.context, a.request_id, a.created_at from makeready.alerts a where a.id = deliver_alert.alert
$$;
comment on function makeready.deliver_alert(uuid) is 'The alert that a job is to send; no row when retention has removed it.';

create or replace function makeready.deliver_alert_sent(job uuid, token uuid, alert uuid)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_verdict text := makeready.finish('deliver', job, token, '{"sent": true}');
begin
  if v_verdict = 'ok' then
    update makeready.alerts a set sent_at = makeready.now() where a.id = alert and a.sent_at is null;
  end if;
  return v_verdict;
end
$$;
comment on function makeready.deliver_alert_sent(uuid, uuid, uuid) is
  'Ends the job of an alert that was taken where it was sent to. ok or repeat; MR001: the lease is lost.';

create or replace function makeready.deliver_job_turned()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  -- Whoever may enqueue wrote the payload: what is no id must not keep the job from ending.
  v_delivery uuid := (substring(new.payload ->> 'delivery_id' from '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$'))::uuid;
begin
  if v_delivery is null then
    return null;               -- an alert: it is recorded, and its job tells why it was not sent
  end if;
  if new.finished_at is not null then
    perform makeready.webhook_given_up(v_delivery, coalesce(nullif(new.error, '{}') - 'evidence',
                                                            jsonb_build_object('code', new.state, 'message', 'the job was ' || new.state)));
  else
    update makeready.webhook_deliveries d set state = 'pending', finished_at = null
     where d.id = v_delivery and d.job_id = new.id and d.state = 'failed';
  end if;
  return null;
end
$$;
comment on function makeready.deliver_job_turned() is 'Carries an end other than success, and an operator''s retry, over to the delivery.';

create or replace trigger deliver_jobs_reach_the_delivery
  after update of state on makeready.deliver_jobs
  for each row
  when (old.state is distinct from new.state
        and (new.state in ('dead', 'cancelled', 'expired') or old.state in ('dead', 'cancelled', 'expired')))
  execute function makeready.deliver_job_turned();
comment on trigger deliver_jobs_reach_the_delivery on makeready.deliver_jobs is
  'Every end but success, and a retry by an operator, reaches the delivery.';

-- What the queue render tells. All are called in the transaction that ends a job, when its rows are as they will be.

create or replace function makeready.deliver_render(job uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_done record;
begin
  -- Nobody listens, most of the time: two rows by their keys and an empty range of one index.
  select d.pack_id, d.doc_id, d.state, d.file_id, d.last_error, p.open_count, p.user_id into v_done
    from makeready.pack_documents d join makeready.packs p on p.id = d.pack_id
   where d.job_id = job and d.state <> 'queued'
     and exists (select from makeready.webhook_endpoints e where e.user_id = p.user_id and e.disabled_at is null);
  if not found then
    return;
  end if;
  perform makeready.webhook_emit(v_done.user_id, 'render.' || v_done.state,
    jsonb_build_object('job_id', job, 'pack_id', v_done.pack_id, 'doc_id', v_done.doc_id, 'status', v_done.state)
    || case v_done.state when 'ready' then jsonb_build_object('file_id', v_done.file_id)
                         else jsonb_build_object('reason', lower(v_done.last_error ->> 'code')) end);
  if v_done.open_count = 0 then
    perform makeready.deliver_pack(v_done.pack_id);
  end if;
end
$$;
comment on function makeready.deliver_render(uuid) is
  'Writes render.ready or render.failed, and pack.done when nothing of the pack is open any more, into the outbox of its user. Call it last in the transaction that ends a render.';

create or replace function makeready.deliver_pack(pack uuid)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.webhook_emit(p.user_id, 'pack.done',
           jsonb_build_object('pack_id', p.id, 'status', case when s.failed = 0 then 'ready' else 'failed' end,
                              'ready', s.ready, 'failed', s.failed))
    from makeready.packs p
   cross join lateral (
     select count(*) filter (where l.state = 'ready') as ready, count(*) filter (where l.state = 'failed') as failed
       from (select distinct on (d.doc_id) d.state from makeready.pack_documents d
              where d.pack_id = p.id order by d.doc_id, d.seq desc) l) s
   where p.id = pack
$$;
comment on function makeready.deliver_pack(uuid) is
  'Writes pack.done into the outbox of the pack''s user: how many of its documents are ready and failed by their latest render.';

create or replace function makeready.deliver_bundle(job uuid)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.webhook_emit(p.user_id, 'pack.bundled',
           jsonb_build_object('job_id', b.job_id, 'pack_id', b.pack_id, 'status', b.state)
           || case b.state when 'ready' then jsonb_build_object('pdf_file_id', b.pdf_file_id, 'zip_file_id', b.zip_file_id)
                           else jsonb_build_object('reason', lower(b.last_error ->> 'code')) end)
    from makeready.render_bundles b join makeready.packs p on p.id = b.pack_id
   where b.job_id = job and b.state in ('ready', 'failed')
$$;
comment on function makeready.deliver_bundle(uuid) is
  'Writes pack.bundled into the outbox of the pack''s user. Call it last in the transaction that ends a bundle.';

create or replace function makeready.deliver_render_alert(job uuid)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.alert('error', 'render_job_failed',
           jsonb_build_object('job_id', j.id, 'pack_id', j.payload -> 'pack_id', 'doc_id', j.payload -> 'doc_id', 'state', j.state,
                              'attempts', j.attempt, 'code', j.error -> 'code'), j.id::text)
    from makeready.jobs j where j.queue = 'render' and j.id = job and j.state in ('dead', 'expired')
$$;
comment on function makeready.deliver_render_alert(uuid) is
  'Records the alert render_job_failed for a job that is dead or expired; a cancelled one is nobody''s trouble. It never raises.';

grant execute on function makeready.deliver_alert(uuid) to makeready_worker;
grant execute on function makeready.deliver_alert_sent(uuid, uuid, uuid) to makeready_worker;
