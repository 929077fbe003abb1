-- Document types, reading: for staff, for the lists of users, and for whoever prints. See 098_document_types.

create or replace function makeready.document_list(document text default null)
  returns table (doc_id text, title_ru text, title_en text, description_ru text, description_en text, tier text, is_enabled boolean,
                 title_by_staff text, description_by_staff text, enabled_by_staff boolean, tier_by_staff text, may_render boolean,
                 version text, shipped_version text, is_shipped boolean, number_in_force integer, drafts integer)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select t.id, t.title_ru, t.title_en, t.description_ru, t.description_en, t.tier, t.is_enabled, t.title_by_staff, t.description_by_staff,
         t.enabled_by_staff, t.tier_by_staff, makeready.render_is_enabled(t), t.version, t.shipped_version, t.is_shipped,
         (select v.number from makeready.document_type_versions v where v.doc_id = t.id and v.state = 'published'),
         (select count(*)::integer from makeready.document_type_versions v where v.doc_id = t.id and v.state in ('draft', 'valid', 'invalid'))
    from makeready.document_types t
   where document_list.document is null or t.id = document_list.document
   order by t.id
$$;
comment on function makeready.document_list(text) is 'The registry, or one type of it: what the version in force says, what staff laid over it, and what is shipped.';

drop function if exists makeready.document_versions(text, integer);
create or replace function makeready.document_versions(document text, which integer default null, max_rows integer default null,
    older_than integer default null)
  returns table (number integer, origin text, hash text, state text, problems jsonb, remark text, made_by text, created_at timestamptz,
                 changed_at timestamptz, checked_at timestamptz, published_at timestamptz, trial_job uuid, is_tried boolean, design jsonb)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select v.number, v.origin, v.hash, v.state, v.problems, v.remark, v.made_by, v.created_at, v.changed_at, v.checked_at, v.published_at,
         v.trial_job, makeready.document_is_tried(v), case when which is not null then v.design end
    from makeready.document_type_versions v
   where v.doc_id = document_versions.document and (which is null or v.number = document_versions.which)
     and (older_than is null or v.number < older_than)
   order by v.number desc
   limit max_rows
$$;
comment on function makeready.document_versions(text, integer, integer, integer) is
  'The versions of a type, newest first, all or a page: older_than is the last number of the page before; one alone with its content.';

create or replace function makeready.document_design(document text, version_hash text)
  returns table (design jsonb, assets jsonb)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select v.design, coalesce((select jsonb_object_agg(encode(f.sha256, 'hex'), jsonb_build_object('bucket', f.bucket, 'key', f.object_key))
                             from makeready.file_references r join makeready.files f on f.id = r.file_id where r.refers_id = v.id), '{}')
    from makeready.document_type_versions v
   where v.doc_id = document_design.document and v.hash = version_hash
   order by v.origin desc, v.number limit 1
$$;
comment on function makeready.document_design(text, text) is
  'The content of a version by its hash, and by SHA-256 where its assets lie; no row when it is unknown.';

create or replace function makeready.document_stored(document text, hashes text[])
  returns setof text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select distinct encode(f.sha256, 'hex')
    from makeready.document_type_versions v
    join makeready.file_references r on r.refers_id = v.id
    join makeready.files f on f.id = r.file_id
   where v.doc_id = document_stored.document and encode(f.sha256, 'hex') = any (hashes) and f.purging_at is null
$$;
comment on function makeready.document_stored(text, text[]) is 'Those of the SHA-256 that some version of the type has stored already.';

drop function if exists makeready.document_trial_state(uuid);
create or replace function makeready.document_trial_state(job uuid)
  returns table (public_state text, file_id uuid, error_text text, pages integer)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.render_state(d.state, j.state), d.file_id,
         makeready.render_error_text(case d.state when 'queued' then j.error else d.last_error end),
         (a.meta ->> 'pages')::integer
    from makeready.pack_documents d
    left join makeready.jobs j on j.queue = 'render' and j.id = d.job_id
    left join makeready.artifacts a on a.meta ->> 'render_job_id' = d.job_id::text
   where d.job_id = document_trial_state.job
$$;
comment on function makeready.document_trial_state(uuid) is 'How a trial render stands; no row when there is no such render.';

-- One alert a version and day, however many processes meet it: the second one waits at the type's row and finds it.
create or replace function makeready.document_fallback(document text, version_hash text, why text)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform 1 from makeready.document_types t where t.id = document for no key update;
  if exists (select from makeready.alerts a
              where a.created_at > makeready.now() - interval '1 day' and a.event = 'bad_config_fallback'
                and a.context ->> 'doc_id' = document and a.context ->> 'version' = version_hash) then
    return false;
  end if;
  perform makeready.alert('error', 'bad_config_fallback', jsonb_build_object('doc_id', document, 'version', version_hash, 'reason', left(why, 500)));
  return true;
end
$$;
comment on function makeready.document_fallback(text, text, text) is
  'Alerts that a version could not be used and what is shipped was printed in its place; once a version and day. True: this call did.';

grant execute on function makeready.document_list(text) to makeready_http, makeready_ops;
grant execute on function makeready.document_versions(text, integer, integer, integer) to makeready_http, makeready_ops;
grant execute on function makeready.document_design(text, text) to makeready_http, makeready_worker, makeready_ops;
grant execute on function makeready.document_stored(text, text[]) to makeready_http;
grant execute on function makeready.document_trial_state(uuid) to makeready_http;
grant execute on function makeready.document_fallback(text, text, text) to makeready_http, makeready_worker;
