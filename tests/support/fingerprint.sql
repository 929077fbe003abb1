-- Everything in the schema makeready that could differ between two installations, one line each; order of columns aside.
select 'function ' || pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '') || obj_description(p.oid, 'pg_proc') as line
  from pg_proc p where p.pronamespace = 'makeready'::regnamespace
 union all
select 'relation ' || c.relkind::text || ' ' || c.relname || ' ' || pg_get_userbyid(c.relowner) || coalesce(c.relacl::text, '')
       || coalesce(c.reloptions::text, '') || coalesce(obj_description(c.oid, 'pg_class'), '')
  from pg_class c where c.relnamespace = 'makeready'::regnamespace and c.relkind <> 'i'
 union all
select 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || a.attidentity::text
       || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(col_description(c.oid, a.attnum), '')
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'makeready'::regnamespace and c.relkind in ('r', 'p')
 union all
select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
  from pg_constraint where connamespace = 'makeready'::regnamespace
 union all
select 'index ' || indexdef from pg_indexes where schemaname = 'makeready'
 union all
select 'view ' || viewname || ' ' || definition from pg_views where schemaname = 'makeready'
 union all
select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger
 where not tgisinternal and tgrelid::regclass::text like 'makeready.%'
 union all
select 'default ' || defaclobjtype::text || coalesce(defaclacl::text, '') from pg_default_acl
 union all
select 'row ' || r.line from (
  select 'queue ' || (to_jsonb(q) - 'created_at')::text as line from makeready.queues q
   union all
  select 'lane ' || l::text from makeready.lanes l
   union all
  select 'gate ' || g::text from makeready.gates g
   union all
  select 'chore ' || chore || every || is_enabled || batch from makeready.chores) r
 order by 1
