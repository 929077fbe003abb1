-- Photos as they are looked at: by whoever has a link, and by staff.
--
-- Links are decided by the row at the moment of the call: a result is there until result_expires_at, and gone from that
-- moment on, whether or not its file is. What a link must not tell apart (unknown, not ready, failed) looks the same.

create or replace function makeready.photo_time(moment timestamptz)
  returns text language sql stable security definer set search_path = ''
as $$ select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
comment on function makeready.photo_time(timestamptz) is 'A time as answers about photos have it: ISO 8601 in UTC with Z.';

create or replace function makeready.photo_refuse_result(photo uuid)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'photo % has no result', photo
    using errcode = 'MR404', detail = json_build_object('code', 'result_not_found', 'job_id', photo),
          hint = 'It is unknown, not finished, or has failed.';
end
$$;
comment on function makeready.photo_refuse_result(uuid) is 'Raises MR404 for a photo without a result. Internal.';

create or replace function makeready.photo_with_result(photo uuid)
  returns makeready.photos
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_photo makeready.photos;
begin
  select * into v_photo from makeready.photos p where p.id = photo;
  if not found or v_photo.result_expires_at is null then
    perform makeready.photo_refuse_result(photo);
  end if;
  if v_photo.result_expires_at <= makeready.now() then
    raise exception 'the result of photo % was kept until %', photo, v_photo.result_expires_at
      using errcode = 'MR410', hint = 'Results are kept for a few days only.',
            detail = json_build_object('code', 'result_expired', 'job_id', photo,
                                       'result_expires_at', makeready.photo_time(v_photo.result_expires_at));
  end if;
  return v_photo;
end
$$;
comment on function makeready.photo_with_result(uuid) is 'A photo whose result may be shown. MR404, MR410 from result_expires_at on. Internal.';

create or replace function makeready.photo_result(photo uuid)
  returns table (stored jsonb, shown_until timestamptz, seconds_left float8)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_photo makeready.photos := makeready.photo_with_result(photo);
begin
  if v_photo.result_path is null then
    perform makeready.photo_refuse_result(photo);
  end if;
  return query
    select makeready.media_facts(v_photo.result_store, v_photo.result_path, v_photo.result_mime, v_photo.result_size_bytes, v_photo.result_sha256),
           v_photo.result_expires_at, extract(epoch from v_photo.result_expires_at - makeready.now())::float8;
end
$$;
comment on function makeready.photo_result(uuid) is 'Where the result of a photo lies, and until when it is shown. MR404 result_not_found, MR410 result_expired.';

create or replace function makeready.photo_thumbnail(photo uuid, which text)
  returns table (stored jsonb, shown_until timestamptz, seconds_left float8)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_photo   makeready.photos := makeready.photo_with_result(photo);
  v_picture jsonb := case which when 'before' then v_photo.before_picture when 'after' then v_photo.after_picture end;
begin
  if v_picture is null then
    perform makeready.photo_refuse_result(photo);
  end if;
  return query select v_picture, v_photo.result_expires_at, extract(epoch from v_photo.result_expires_at - makeready.now())::float8;
end
$$;
comment on function makeready.photo_thumbnail(uuid, text) is 'Where the thumbnail of a photo lies, before or after. It is shown as long as the result. MR404, MR410.';

create or replace function makeready.media_shown(media uuid, client text)
  returns table (stored jsonb, shown_until timestamptz, seconds_left float8)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_media makeready.media_objects;
  v_now   timestamptz;
  v_until timestamptz;
begin
  perform set_config('synchronous_commit', 'off', true);
  perform makeready.throttle_take('public_media', client);
  v_now := makeready.now();
  select * into v_media from makeready.media_objects m where m.id = media and m.kind in ('prepared', 'temporary');
  -- The row of a prepared image goes with its file; its photo remembers that there was one.
  v_until := case when found then v_media.expires_at
                  else (select p.expires_at from makeready.photos p where p.public_id = media and p.expires_at <= v_now) end;
  if v_until is null then
    raise exception 'there is no media %', media
      using errcode = 'MR404', detail = json_build_object('code', 'media_not_found', 'id', media), hint = 'Media are shown for a minute or so.';
  elsif v_until <= v_now then
    raise exception 'media % was shown until %', media, v_until
      using errcode = 'MR410', hint = 'Nothing prolongs it.',
            detail = json_build_object('code', 'media_link_expired', 'id', media, 'expires_at', makeready.photo_time(v_until));
  end if;
  return query
    select makeready.media_facts(v_media.store, v_media.path, v_media.mime, v_media.size_bytes, v_media.sha256),
           v_until, extract(epoch from v_until - v_now)::float8;
end
$$;
comment on function makeready.media_shown(uuid, text) is
  'Temporary media or a prepared image, for whoever has its id. MR404 media_not_found, MR410 media_link_expired, MR429 when one address asks too often. Not durable.';

create or replace function makeready.photo_recent(of_slot text, max_rows integer default 10)
  returns table (photo uuid, ended_at timestamptz, kept_until timestamptz, file_type text, byte_count bigint, has_thumbnail boolean)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now timestamptz := makeready.now();
begin
  perform makeready.photo_slot_known(of_slot);
  return query
    select p.id, p.finished_at, p.result_expires_at, p.result_mime, p.result_size_bytes, p.after_picture is not null
      from makeready.photos p
     where p.slot_id = of_slot and p.result_path is not null and p.result_expires_at > v_now and p.finished_at > v_now - interval '72 hours'
     order by p.finished_at desc limit max_rows;
end
$$;
comment on function makeready.photo_recent(text, integer) is 'The newest results of a slot, of the last 72 hours, that can be downloaded. MR404.';

create or replace function makeready.photo_facts(photo makeready.photos, job_began timestamptz, payload_file text)
  returns jsonb
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select jsonb_build_object(
    'id', photo.id, 'slot_id', photo.slot_id, 'status', case when job_began is null then 'pending' else 'processing' end,
    'is_finalized', photo.finished_at is not null, 'failure_reason', photo.failure_reason,
    'expires_at', makeready.photo_time(photo.expires_at), 'created_at', makeready.photo_time(photo.created_at),
    'updated_at', makeready.photo_time(greatest(photo.created_at, job_began, photo.finished_at, photo.answered_at)),
    'finalized_at', makeready.photo_time(photo.finished_at), 'payload_path', payload_file,
    'provider_id', coalesce(photo.done_by, photo.provider_id), 'provider_job_reference', photo.provider_reference,
    'result_file_path', photo.result_path, 'result_inline_base64', null, 'result_mime_type', photo.result_mime,
    'result_size_bytes', photo.result_size_bytes, 'result_checksum', encode(photo.result_sha256, 'hex'),
    'result_expires_at', makeready.photo_time(photo.result_expires_at), 'source', photo.source, 'failure', photo.failure,
    'provider_latency_ms', photo.provider_latency_ms, 'cost', photo.cost, 'answered_at', makeready.photo_time(photo.answered_at),
    'answered_with', photo.answered_with)
$$;
comment on function makeready.photo_facts(makeready.photos, timestamptz, text) is 'A photo as staff sees it. Internal.';

create or replace function makeready.photo_list(in_status text default null, only_ended boolean default null, for_reason text default null,
    of_slot text default null, in_order text default 'created_at', downwards boolean default true, max_rows integer default 20,
    left_out integer default 0, only_this uuid default null)
  returns table (facts jsonb, seconds_left float8, wait_ms bigint, work_ms bigint, elapsed_ms bigint)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_custom_plan      -- planned for the filters that are given, and for one order
  set jit = off
as $$
declare
  v_now timestamptz := makeready.now();
begin
  return query
    select makeready.photo_facts(f.p, f.began, (select m.path from makeready.media_objects m
                                                 where m.job_id = (f.p).id and m.kind = 'payload' order by m.created_at limit 1)),
           extract(epoch from (f.p).expires_at - v_now)::float8,
           (extract(epoch from f.began - (f.p).created_at) * 1000)::bigint,
           (extract(epoch from coalesce((f.p).finished_at, v_now) - f.began) * 1000)::bigint,
           (extract(epoch from coalesce((f.p).finished_at, v_now) - (f.p).created_at) * 1000)::bigint
      from (select p, coalesce(p.started_at, j.started_at) as began
              from makeready.photos p
              left join makeready.jobs j on j.queue = 'ingest' and j.id = p.id and p.finished_at is null
             where (only_this is null or p.id = only_this)
               and (only_ended is null or (p.finished_at is not null) = only_ended)
               and (for_reason is null or p.failure_reason = for_reason)
               and (of_slot is null or p.slot_id = of_slot)
               and (in_status is null or (coalesce(p.started_at, j.started_at) is null) = (in_status = 'pending'))
             order by case when in_order = 'expires_at' and downwards then p.expires_at end desc,
                      case when in_order = 'expires_at' and not downwards then p.expires_at end,
                      case when in_order <> 'expires_at' and downwards then p.created_at end desc,
                      case when in_order <> 'expires_at' and not downwards then p.created_at end, p.id
             limit max_rows offset left_out) f
     order by case when in_order = 'expires_at' and downwards then (f.p).expires_at end desc,
              case when in_order = 'expires_at' and not downwards then (f.p).expires_at end,
              case when in_order <> 'expires_at' and downwards then (f.p).created_at end desc,
              case when in_order <> 'expires_at' and not downwards then (f.p).created_at end, (f.p).id;
end
$$;
comment on function makeready.photo_list(text, boolean, text, text, text, boolean, integer, integer, uuid) is
  'Photos with their times, those filters that are given: pending or processing; ended or not; why they failed; the slot. Ordered by created_at or expires_at.';

create or replace function makeready.photo_count(in_status text default null, only_ended boolean default null, for_reason text default null,
    of_slot text default null)
  returns bigint
  language plpgsql
  stable
  security definer
  set search_path = ''
  set plan_cache_mode = force_custom_plan
  set jit = off
as $$
begin
  return (select count(*)
            from makeready.photos p
            left join makeready.jobs j on j.queue = 'ingest' and j.id = p.id and p.finished_at is null
           where (only_ended is null or (p.finished_at is not null) = only_ended)
             and (for_reason is null or p.failure_reason = for_reason)
             and (of_slot is null or p.slot_id = of_slot)
             and (in_status is null or (coalesce(p.started_at, j.started_at) is null) = (in_status = 'pending')));
end
$$;
comment on function makeready.photo_count(text, boolean, text, text) is 'How many photos these filters leave.';

create or replace function makeready.photo_events(photo uuid)
  returns table (status_name text, happened_at timestamptz, remark text, latency_ms integer, facts jsonb)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select l.status, l.occurred_at, l.message, l.provider_latency_ms, l.details
    from makeready.processing_logs l where l.job_id = photo order by l.id
$$;
comment on function makeready.photo_events(uuid) is 'The processing log of a photo, in its order.';

grant execute on function
  makeready.photo_result(uuid), makeready.photo_thumbnail(uuid, text), makeready.media_shown(uuid, text), makeready.photo_recent(text, integer),
  makeready.photo_list(text, boolean, text, text, text, boolean, integer, integer, uuid), makeready.photo_count(text, boolean, text, text),
  makeready.photo_events(uuid)
to makeready_http, makeready_ops;
