-- Files: what lies in object storage, and who still needs it.
--
-- An object is stored first and entered second; its row names bucket and key. Any number of domain rows refer to it
-- through `file_references`. A file without references is deleted in two phases: marked here, deleted in the store,
-- then its row goes. A crash between the phases repeats the second; a marked file is never adopted again.
--
-- Objects that no row knows (their worker died before it published) are found by the scan `files_scan`: it lists the
-- store first and asks here second and leaves alone what is younger than a day. It is off until an operator has confirmed
-- that this database alone keeps its documents in the bucket, and off again after a restore: the store of another
-- database, or one that is newer than the rows, would lose what it needs.

create table if not exists makeready.files (
  id           uuid        not null constraint files_pk primary key,
  bucket       text        not null,
  object_key   text        not null,
  content_type text        not null,
  size_bytes   bigint      not null constraint files_size_is_not_negative check (size_bytes >= 0),
  sha256       bytea       not null constraint files_sha256_is_32_bytes check (length(sha256) = 32),
  etag         text,
  created_at   timestamptz not null,
  unused_at    timestamptz,
  purging_at   timestamptz,
  constraint files_object_is_unique unique (bucket, object_key)
);
create index if not exists files_unused on makeready.files (unused_at) where unused_at is not null;
comment on table makeready.files is 'Objects in storage.';
comment on column makeready.files.id is 'Inner id; what users see is the id of the domain row that refers to it.';
comment on column makeready.files.bucket is 'Bucket.';
comment on column makeready.files.object_key is 'Key in the bucket.';
comment on column makeready.files.content_type is 'Media type it was stored with.';
comment on column makeready.files.size_bytes is 'Size.';
comment on column makeready.files.sha256 is 'SHA-256 of the bytes.';
comment on column makeready.files.etag is 'What the store called it.';
comment on column makeready.files.created_at is 'When it was first entered.';
comment on column makeready.files.unused_at is 'Since when nothing refers to it.';
comment on column makeready.files.purging_at is 'Since when it is being deleted; it may not be used again.';

create table if not exists makeready.file_references (
  file_id   uuid not null constraint file_references_fk_files references makeready.files,
  refers_id uuid not null,
  constraint file_references_pk primary key (file_id, refers_id)
);
create index if not exists file_references_of on makeready.file_references (refers_id);
comment on table makeready.file_references is 'Who needs a file. The last one that goes starts its deletion.';
comment on column makeready.file_references.file_id is 'The file.';
comment on column makeready.file_references.refers_id is 'Id of the domain row: an artifact file, a card, a photo.';

create or replace function makeready.file_store(bucket_name text, object_name text, media_type text, byte_count bigint,
    hash_sha256 bytea, etag_value text, reference uuid)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_file uuid;
begin
  -- A retry after a half-done store finds its own row: the key is the same, the bytes are its own.
  insert into makeready.files as f (id, bucket, object_key, content_type, size_bytes, sha256, etag, created_at)
  values (makeready.uuid7(), bucket_name, object_name, media_type, byte_count, hash_sha256, etag_value, makeready.now())
  on conflict on constraint files_object_is_unique do update
     set content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256, etag = excluded.etag,
         unused_at = null
   where f.purging_at is null
  returning f.id into v_file;
  if not found then
    perform makeready.refuse_purging(bucket_name, object_name);
  end if;
  insert into makeready.file_references (file_id, refers_id) values (v_file, reference) on conflict do nothing;
  return v_file;
end
$$;
comment on function makeready.file_store(text, text, text, bigint, bytea, text, uuid) is
  'Enters an object that was stored, with its first reference; again for the same key it is the same file. MR409 when that object is being deleted.';

create or replace function makeready.file_keep(stored jsonb, reference uuid)
  returns uuid
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.file_store(stored ->> 'bucket', stored ->> 'key', stored ->> 'media_type', (stored ->> 'size_bytes')::bigint,
                              decode(stored ->> 'sha256', 'hex'), stored ->> 'etag', reference)
$$;
comment on function makeready.file_keep(jsonb, uuid) is 'file_store with what is stored as {bucket, key, media_type, size_bytes, sha256, etag}, the hash in hex.';

create or replace function makeready.files_keep(stored jsonb[], reference_ids uuid[])
  returns uuid[]
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_count integer;
  v_files uuid[];
begin
  -- In order of their keys: of two who enter the same objects one waits for the other, not both.
  insert into makeready.files as f (id, bucket, object_key, content_type, size_bytes, sha256, etag, created_at)
  select makeready.uuid7(), s.facts ->> 'bucket', s.facts ->> 'key', s.facts ->> 'media_type', (s.facts ->> 'size_bytes')::bigint,
         decode(s.facts ->> 'sha256', 'hex'), s.facts ->> 'etag', makeready.now()
    from unnest(stored) s (facts) order by s.facts ->> 'bucket', s.facts ->> 'key'
  on conflict on constraint files_object_is_unique do update
     set content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256, etag = excluded.etag,
         unused_at = null
   where f.purging_at is null;
  get diagnostics v_count = row_count;
  if v_count < cardinality(stored) then
    perform makeready.refuse_purging(f.bucket, f.object_key)
       from unnest(stored) s (facts)
       join makeready.files f on f.bucket = s.facts ->> 'bucket' and f.object_key = s.facts ->> 'key'
      where f.purging_at is not null;
  end if;
  select array_agg(f.id order by s.place) into v_files
    from unnest(stored) with ordinality s (facts, place)
    join makeready.files f on f.bucket = s.facts ->> 'bucket' and f.object_key = s.facts ->> 'key';
  insert into makeready.file_references (file_id, refers_id)
  select r.file_id, r.refers_id from unnest(v_files, reference_ids) r (file_id, refers_id) on conflict do nothing;
  return v_files;
end
$$;
comment on function makeready.files_keep(jsonb[], uuid[]) is
  'file_keep for many objects with different keys, in one call: all of them or none; their ids in order. MR409 when one is being deleted.';

create or replace function makeready.file_facts(file makeready.files)
  returns jsonb
  language sql
  immutable
  security definer
  set search_path = ''
as $$
  select jsonb_build_object('bucket', file.bucket, 'key', file.object_key, 'media_type', file.content_type, 'size_bytes', file.size_bytes,
                            'sha256', encode(file.sha256, 'hex'), 'etag', file.etag) where file.id is not null
$$;
comment on function makeready.file_facts(makeready.files) is 'A stored file as file_keep takes it; null for none.';

create or replace function makeready.file_adopt(file uuid, reference uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  -- The row lock decides the race with the purge: whoever comes second sees what the first has done.
  update makeready.files f set unused_at = null where f.id = file and f.purging_at is null;
  if not found then
    perform makeready.refuse_purging(null, file::text);
  end if;
  insert into makeready.file_references (file_id, refers_id) values (file, reference) on conflict do nothing;
end
$$;
comment on function makeready.file_adopt(uuid, uuid) is 'Adds a reference to a stored file. MR409 when it is being deleted: store the bytes anew.';

create or replace function makeready.file_keep_found(stored jsonb, reference uuid)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_file uuid;
begin
  -- Whoever found the object did so a while ago: what has been purged since must not be entered without it.
  select f.id into v_file from makeready.files f where f.bucket = stored ->> 'bucket' and f.object_key = stored ->> 'key';
  if not found then
    perform makeready.refuse_purging(stored ->> 'bucket', stored ->> 'key');
  end if;
  perform makeready.file_adopt(v_file, reference);
  return v_file;
end
$$;
comment on function makeready.file_keep_found(jsonb, uuid) is
  'file_adopt of an object that was found stored, as file_keep takes it. MR409 when it is being deleted, or is by now.';

create or replace function makeready.refuse_purging(bucket_name text, object_name text)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'file % is being deleted', object_name
    using errcode = 'MR409', detail = json_build_object('bucket', bucket_name, 'key', object_name, 'reason', 'purging'),
          hint = 'Store the bytes under a new key.';
end
$$;
comment on function makeready.refuse_purging(text, text) is 'Raises MR409 for a file that is being deleted.';

create or replace function makeready.files_release(reference_ids uuid[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_count integer;
begin
  perform 1 from makeready.files f
   where f.id in (select r.file_id from makeready.file_references r where r.refers_id = any (reference_ids)) order by f.id for no key update;
  with gone as (
    delete from makeready.file_references r where r.refers_id = any (reference_ids) returning r.file_id
  )
  update makeready.files f set unused_at = makeready.now()
    from (select distinct d.file_id from gone d) g
   where f.id = g.file_id
     and not exists (select from makeready.file_references r where r.file_id = g.file_id and r.refers_id <> all (reference_ids));
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.files_release(uuid[]) is 'Takes the references of domain rows away; returns how many files nobody needs now.';

create or replace function makeready.file_release(reference uuid)
  returns integer language sql volatile security definer set search_path = ''
as $$ select makeready.files_release(array[reference]) $$;
comment on function makeready.file_release(uuid) is 'files_release of one domain row.';

create or replace function makeready.file_referrers_gone()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform makeready.files_release(array(select g.id from gone g));
  return null;
end
$$;
comment on function makeready.file_referrers_gone() is
  'For each table whose rows refer to files by their id: after a delete, by whomever and however it cascaded, their files are let go. The deleted rows are called gone.';

create or replace function makeready.files_purge_mark(max_files integer, grace interval default '10 minutes', in_bucket text default null)
  returns table (file uuid, bucket_name text, object_name text)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  with due as materialized (
    select f.id from makeready.files f
     where f.unused_at <= makeready.now() - grace
       and (in_bucket is null or f.bucket = in_bucket)      -- those of others would be marked in vain, and stand in the way
       and not exists (select from makeready.file_references r where r.file_id = f.id)
       -- Marked by somebody a while ago: its process died on the way, do it again.
       and (f.purging_at is null or f.purging_at < makeready.now() - interval '5 minutes')
     order by f.unused_at limit max_files for no key update skip locked
  )
  update makeready.files f set purging_at = makeready.now() from due d where f.id = d.id
  returning f.id, f.bucket, f.object_key
$$;
comment on function makeready.files_purge_mark(integer, interval, text) is
  'First phase: marks files that nobody has needed for the grace time, of one bucket or of all, and returns them. Commit, delete the objects (gone already is fine), then call files_purged.';

create or replace function makeready.files_purged(file_ids uuid[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_count integer;
begin
  delete from makeready.files f where f.id = any (file_ids) and f.purging_at is not null;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.files_purged(uuid[]) is 'Second phase: the objects are deleted, so the rows of marked files go.';

create or replace function makeready.files_unknown(bucket_name text, object_names text[])
  returns setof text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select o.name from unnest(object_names) o (name)
   where not exists (select from makeready.files f where f.bucket = bucket_name and f.object_key = o.name)
$$;
comment on function makeready.files_unknown(text, text[]) is 'Those of the objects that no file is made of. List the store before you ask.';

select makeready.chore_create('files_scan', '24 hours', by_process => true);      -- made switched off, see above
