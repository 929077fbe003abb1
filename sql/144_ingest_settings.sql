-- Settings of photos that change while the system runs: how long booths wait, the password of slots, what is kept.
--
-- A process may be configured with some of them. Such a value is taken over once (ingest_seed); from then on, and also
-- once somebody has changed it here, the row counts and the process only says that it differs.

create table if not exists makeready.ingest_seeds (
  setting_name text        not null constraint ingest_seeds_pk primary key
                           constraint ingest_seeds_setting_is_known
                           check (setting_name in ('ingest_password', 'sync_response_s', 'ingest_max_in_flight', 'result_retention_hours')),
  settled_at   timestamptz not null,
  settled_by   text        not null
);
comment on table makeready.ingest_seeds is 'Settings that no process seeds any more.';
comment on column makeready.ingest_seeds.setting_name is 'As processes call it.';
comment on column makeready.ingest_seeds.settled_at is 'Since when.';
comment on column makeready.ingest_seeds.settled_by is 'Whose value it was.';

create or replace function makeready.ingest_settle(what text)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  insert into makeready.ingest_seeds (setting_name, settled_at, settled_by) values (what, makeready.now(), makeready.acting_as())
  on conflict do nothing;
  return found;
end
$$;
comment on function makeready.ingest_settle(text) is 'From now on no process seeds this setting; false: it was so. Internal.';

create or replace function makeready.ingest_settings()
  returns table (sync_s float8, most_open integer, hours_kept integer, refuses boolean, durable boolean, replay_seconds integer, days_kept integer,
                 free_floor bigint, row_version integer, changed_at timestamptz, changed_by text, has_password boolean, password_at timestamptz,
                 password_by text)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select p.sync_response_s, q.max_open, p.result_retention_hours, p.refuses_late, p.is_durable, p.replay_s, p.keep_days, p.min_free_bytes,
         p.version, p.updated_at, p.updated_by, w.password_hash is not null, w.updated_at, w.updated_by
    from makeready.ingest_policy p, makeready.ingest_password w, makeready.queues q
   where q.queue = 'ingest'
$$;
comment on function makeready.ingest_settings() is 'The policy of photos, and whether a password is set.';

create or replace function makeready.ingest_settings_put(changes jsonb, known integer default null, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row    makeready.ingest_policy;
  v_before jsonb;
  v_facts  jsonb;
begin
  select * into v_row from makeready.ingest_policy p for no key update;
  perform makeready.refuse_stale('the policy of photos', known, v_row.version);
  v_before := to_jsonb(v_row) - '{only_row,version,updated_at,updated_by}'::text[]
              || jsonb_build_object('max_in_flight', (select q.max_open from makeready.queues q where q.queue = 'ingest'));
  v_facts := v_before || changes;
  perform makeready.refuse_problems(coalesce(jsonb_agg(jsonb_build_object('code', 'validation_failed', 'path', p.path, 'message', p.message)
                                                       order by p.path), '[]'))
    from (select k.key, format('there is no setting %s', left(k.key, 100)) from jsonb_object_keys(changes) k (key) where not v_before ? k.key
          union all
          select b.name, format('%s is true or false', b.name) from (values ('refuses_late'), ('is_durable')) b (name)
           where changes ? b.name and jsonb_typeof(changes -> b.name) <> 'boolean'
          union all
          select b.name, format('%s is a%s number from %s to %s', b.name, case b.name when 'sync_response_s' then '' else ' whole' end, b.low, b.high)
            from (values ('sync_response_s', 45, 60), ('max_in_flight', 1, 1000), ('result_retention_hours', 24, 168), ('replay_s', 0, 86400),
                         ('keep_days', 7, 36500), ('min_free_bytes', 0, 1125899906842624)) b (name, low, high)
           where changes ? b.name
             and not coalesce(case jsonb_typeof(changes -> b.name) when 'number'
                                   then (changes ->> b.name)::numeric between b.low and b.high
                                        and (b.name = 'sync_response_s' or (changes ->> b.name)::numeric % 1 = 0) end, false)
         ) p (path, message);
  if v_facts = v_before then
    return v_row.version;
  end if;
  if changes ? 'sync_response_s' then
    perform makeready.ingest_settle('sync_response_s');
  end if;
  if changes ? 'result_retention_hours' then
    perform makeready.ingest_settle('result_retention_hours');
  end if;
  if changes ? 'max_in_flight' then
    perform makeready.ingest_settle('ingest_max_in_flight');
    perform makeready.queue_set('ingest', 'max_open', (v_facts ->> 'max_in_flight')::numeric::integer::text, because);
  end if;
  return makeready.ingest_policy_write(v_before, v_facts, because);
end
$$;
comment on function makeready.ingest_settings_put(jsonb, integer, text) is
  'Changes what is named, for photos from now on: ingest_settings_put(''{"sync_response_s": 50}''). Also refuses_late, is_durable, max_in_flight, result_retention_hours, replay_s, keep_days, min_free_bytes; returns the version. MR409 stale_version, MR422. Audited.';

create or replace function makeready.ingest_policy_write(old_facts jsonb, new_facts jsonb, because text)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_version integer;
begin
  update makeready.ingest_policy p
     set sync_response_s = (new_facts ->> 'sync_response_s')::float8, refuses_late = (new_facts ->> 'refuses_late')::boolean,
         is_durable = (new_facts ->> 'is_durable')::boolean, result_retention_hours = (new_facts ->> 'result_retention_hours')::numeric::integer,
         replay_s = (new_facts ->> 'replay_s')::numeric::integer, keep_days = (new_facts ->> 'keep_days')::numeric::integer,
         min_free_bytes = (new_facts ->> 'min_free_bytes')::numeric::bigint, version = p.version + 1, updated_at = makeready.now(),
         updated_by = makeready.acting_as()
  returning p.version into v_version;
  perform makeready.audit('ingest_settings_put', 'ingest', old_facts, new_facts, because);
  return v_version;
end
$$;
comment on function makeready.ingest_policy_write(jsonb, jsonb, text) is 'Writes a policy that was checked, and audits it. Internal.';

create or replace function makeready.ingest_password_set(digest text, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_version integer;
begin
  if digest is null or not starts_with(digest, '$argon2id$') then
    raise exception 'the password of slots comes as its argon2id hash'
      using errcode = 'MR422', detail = json_build_object('path', 'dslr_password'), hint = 'The service hashes it: PUT /api/settings.';
  end if;
  update makeready.ingest_password w
     set password_hash = digest, version = w.version + 1, updated_at = makeready.now(), updated_by = makeready.acting_as()
  returning w.version into v_version;
  perform makeready.ingest_settle('ingest_password');
  perform makeready.audit('settings.rotate_ingest_password', 'ingest', null, jsonb_build_object('version', v_version), because);
  return v_version;
end
$$;
comment on function makeready.ingest_password_set(text, text) is
  'Sets the password of all slots by its hash, from the next request on; requests that were let in go on. Returns its version. MR422. Audited, without the hash.';

create or replace function makeready.ingest_seed(digest text, sync_s float8 default null, most_open integer default null, hours_kept integer default null,
    in_tests boolean default false)
  returns text[]
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_taken text[] := '{}';
begin
  if sync_s < 45 and not in_tests then
    raise exception 'a booth waits 45 to 60 seconds, not %', sync_s
      using errcode = 'MR422', detail = json_build_object('path', 'sync_response_s'), hint = 'Less is for tests: MAKEREADY_TESTING.';
  end if;
  if digest is not null and makeready.ingest_settle('ingest_password') then
    perform makeready.ingest_password_set(digest, 'the setting of a process');
    v_taken := v_taken || 'ingest_password'::text;
  end if;
  if sync_s is not null and makeready.ingest_settle('sync_response_s') then
    update makeready.ingest_policy p set sync_response_s = sync_s, version = p.version + 1, updated_at = makeready.now();
    v_taken := v_taken || 'sync_response_s'::text;
  end if;
  if most_open is not null and makeready.ingest_settle('ingest_max_in_flight') then
    perform makeready.queue_set('ingest', 'max_open', most_open::text, 'the setting of a process');
    v_taken := v_taken || 'ingest_max_in_flight'::text;
  end if;
  if hours_kept is not null and makeready.ingest_settle('result_retention_hours') then
    update makeready.ingest_policy p set result_retention_hours = hours_kept, version = p.version + 1, updated_at = makeready.now();
    v_taken := v_taken || 'result_retention_hours'::text;
  end if;
  if v_taken <> '{}' then
    perform makeready.audit('ingest_seed', 'ingest', null, to_jsonb(v_taken), 'the setting of a process');
  end if;
  return v_taken;
end
$$;
comment on function makeready.ingest_seed(text, float8, integer, integer, boolean) is
  'Takes over what a process is configured with, each setting once and only if nobody has changed it; returns their names. in_tests: booths may wait for less than 45 seconds. MR422. Audited.';

create or replace function makeready.ingest_password_hash()
  returns text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select w.password_hash from makeready.ingest_password w
$$;
comment on function makeready.ingest_password_hash() is 'For `makeready doctor`, which compares it with the password that it is given; null: none is set.';

grant execute on function makeready.ingest_settings(), makeready.ingest_settings_put(jsonb, integer, text), makeready.ingest_password_set(text, text)
to makeready_http, makeready_ops;
grant execute on function makeready.ingest_password_hash() to makeready_http;
grant execute on function makeready.ingest_seed(text, float8, integer, integer, boolean) to makeready_ops;
