-- Forgetting: packs and people that are to go, with all that belongs to them.
--
-- Rows go by foreign keys; what keys cannot reach goes by triggers that a delete fires, however it was asked for: files
-- lose the references of deleted rows and are purged once nobody else has one, and with its renders a pack loses their
-- artifacts and evidence. Other people's files are theirs, even where the stored bytes are the same.
--
-- Operators call `render_pack_forget` and `user_forget`. Locks are taken as everywhere: keys and codes, users, jobs, packs.

create or replace trigger artifact_files_let_go
  after delete on makeready.artifact_files referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger artifact_files_let_go on makeready.artifact_files is 'Documents and thumbnails of deleted artifacts are deleted with the unused files.';

create or replace trigger render_contents_let_go
  after delete on makeready.render_contents referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger render_contents_let_go on makeready.render_contents is 'Sources of deleted content are deleted with the unused files.';

create or replace trigger document_type_versions_let_go
  after delete on makeready.document_type_versions referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger document_type_versions_let_go on makeready.document_type_versions is 'Assets of deleted versions are deleted with the unused files.';

create or replace function makeready.render_results_drop(made uuid[], job_ids uuid[])
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  delete from makeready.artifacts t where t.id in (select a.artifact_id from makeready.artifact_files a where a.id = any (made));
  delete from makeready.render_evidence e where e.job_id = any (job_ids)
$$;
comment on function makeready.render_results_drop(uuid[], uuid[]) is 'Deletes what jobs made and left behind, once nothing refers to it. Internal.';

create or replace function makeready.pack_documents_gone()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform makeready.render_results_drop(array(select g.file_id from gone g), array(select g.job_id from gone g));
  return null;
end
$$;
comment on function makeready.pack_documents_gone() is 'Deletes artifacts and evidence of deleted renders.';

create or replace trigger pack_documents_take_their_results
  after delete on makeready.pack_documents referencing old table as gone
  for each statement execute function makeready.pack_documents_gone();
comment on trigger pack_documents_take_their_results on makeready.pack_documents is 'What renders of a deleted pack made goes with them.';

create or replace function makeready.render_bundles_gone()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform makeready.render_results_drop(
    array(select f.id from gone g cross join unnest(array[g.pdf_file_id, g.zip_file_id]) f (id)), array(select g.job_id from gone g));
  return null;
end
$$;
comment on function makeready.render_bundles_gone() is 'Deletes artifacts and evidence of deleted bundles.';

create or replace trigger render_bundles_take_their_results
  after delete on makeready.render_bundles referencing old table as gone
  for each statement execute function makeready.render_bundles_gone();
comment on trigger render_bundles_take_their_results on makeready.render_bundles is 'What bundles of a deleted pack made goes with them.';

create or replace function makeready.render_packs_drop(pack_ids uuid[], because text)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_jobs  uuid[];
  v_job   uuid;
  v_count integer;
begin
  -- Their ends would want the packs, so whoever is ending one comes first.
  perform 1 from makeready.jobs j where j.queue = 'render' and j.batch = any (pack_ids) order by j.id for no key update;
  delete from makeready.packs p where p.id = any (pack_ids);
  get diagnostics v_count = row_count;
  -- One that was asked for since, and is being ended already, waits for its pack and will not find it.
  v_jobs := array(select j.id from makeready.jobs j where j.queue = 'render' and j.batch = any (pack_ids) order by j.id for no key update skip locked);
  -- What is queued ends, what runs is told to stop, and finds nothing to publish to. Nobody is told of it any more.
  foreach v_job in array v_jobs loop
    perform makeready.cancel('render', v_job, because);
  end loop;
  -- Errors and results may name what was printed; what runs is pruned in its time.
  update makeready.jobs j set result = null, error = jsonb_build_object('code', 'forgotten', 'message', 'its pack was deleted')
   where j.queue = 'render' and j.id = any (v_jobs) and j.finished_at is not null;
  delete from makeready.attempts a where a.queue = 'render' and a.job_id = any (v_jobs);
  return v_count;
end
$$;
comment on function makeready.render_packs_drop(uuid[], text) is 'Deletes packs with all that belongs to them, ends their jobs and empties what those said; how many packs. Internal.';

create or replace function makeready.render_pack_forget(pack uuid, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if makeready.render_packs_drop(array[pack], because) = 0 then
    raise exception 'there is no pack %', coalesce(pack::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'pack_not_found', 'pack_id', pack),
            hint = 'select pack, owner_name, made_at from makeready.admin_packs() lists them.';
  end if;
  perform makeready.audit('render_pack_forget', pack::text, null, null, because);
end
$$;
comment on function makeready.render_pack_forget(uuid, text) is
  'Deletes a pack with its data, renders, files and evidence; jobs of it end. The stored bytes go with the unused files, unless something else has them too. Audited. MR404: there is none.';

create or replace function makeready.user_forget(person uuid, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_user  makeready.users;
  v_count integer;
begin
  -- Keys and codes first, as whoever brings one locks them; and then nobody signs in as them any more.
  delete from makeready.requests k where k.scope = 'user:' || person;
  delete from makeready.otp_codes c using makeready.users u where u.id = person and c.phone_e164 = u.phone_e164;
  select * into v_user from makeready.users u where u.id = person for update;
  if not found then
    raise exception 'there is no user %', coalesce(person::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'user_id', person),
            hint = 'select id, name from makeready.users lists them.';
  end if;
  v_count := makeready.render_packs_drop(array(select p.id from makeready.packs p where p.user_id = person), because);
  delete from makeready.requests r where r.scope = 'user:' || person;      -- brought while this waited for the user
  -- That something was done to somebody stays written; who that was does not.
  update makeready.audit_log l set before = l.before - '{name,label}'::text[], after = l.after - '{name,label}'::text[]
   where l.target = any (array(select t.id::text from makeready.tokens t where t.user_id = person) || person::text);
  delete from makeready.users u where u.id = person;
  perform makeready.audit('user_forget', person::text, null, jsonb_build_object('packs', v_count), because);
  return v_count;
end
$$;
comment on function makeready.user_forget(uuid, text) is
  'Deletes a user with all that is theirs: tokens, sessions, packs, files, evidence, webhooks, keys of requests, names in the audit log; how many packs there were. Audited under the bare id. MR404: there is none.';

grant execute on function makeready.render_pack_forget(uuid, text), makeready.user_forget(uuid, text) to makeready_ops;
