"""The page that shows a vault's snapshots; what it shows is put in as text, never as markup."""

import json
from collections.abc import Mapping
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--ink:#16202c;--dim:#4d5a69;--line:#cdd6e0;--card:#fff;--ground:#f3f5f8;--link:#1a56b0}
@media(prefers-color-scheme:dark){:root{--ink:#e7edf4;--dim:#a9b5c3;--line:#33404d;--card:#18212b;--ground:#0f151c;--link:#86b4f5}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1280px;padding:24px;color:var(--ink);
background:var(--ground)}h1{font-size:22px;margin:0}h2{font-size:17px;margin:18px 0 8px;outline:none}p{margin:4px 0;color:var(--dim)}
nav a,td a,th a{color:var(--link)}nav{margin:12px 0}table{border-collapse:collapse;width:100%;font-size:13px;background:var(--card);
border:1px solid var(--line)}caption{text-align:left;color:var(--dim);padding:6px 0}th,td{text-align:left;padding:5px 9px;
border-top:1px solid var(--line);overflow-wrap:anywhere}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:13px ui-monospace,monospace;background:var(--card);border:1px solid var(--line);padding:6px 9px;display:block;
overflow-wrap:anywhere;margin:6px 0}input{font:inherit;padding:4px 8px;margin-right:8px}button{font:inherit;padding:3px 10px}
"""
_SCRIPT = """
'use strict';
const facts=JSON.parse(document.getElementById('facts').textContent),held={},waiting={},PAGE=100;
function loaded(key,value){held[key]=value;(waiting[key]||[]).forEach(f=>f(value));delete waiting[key]}
function load(key,file,then){
 if(key in held)return then(held[key]);
 if(waiting[key])return waiting[key].push(then);
 waiting[key]=[then];
 const s=document.createElement('script');s.src=file;
 s.onerror=()=>{delete waiting[key];say('could not load '+file+': copy the whole folder')};document.head.append(s)}
function el(name,text,attrs){const e=document.createElement(name);if(text!=null)e.textContent=text;
 for(const k in attrs||{})e.setAttribute(k,attrs[k]);return e}
function say(text){document.getElementById('status').textContent=text}
function num(n){return n.toLocaleString('en')}
function link(text,to){return el('a',text,{href:'#'+to})}
function quote(s){return /^[\\w@%+=:,./-]+$/.test(s)?s:"'"+s.replace(/'/g,"'\\\\''")+"'"}
function command(words){return 'orchestrai vault restore '+words.map(quote).join(' ')+(facts.option?' '+facts.option:'')}
function view(title,trail,commands,caption,columns,rows){
 const main=document.getElementById('main');main.textContent='';
 const nav=el('nav',null,{'aria-label':'where you are'});nav.append(link('all datasets',''));
 trail.forEach(([t,to])=>{nav.append(' / ');nav.append(link(t,to))});main.append(nav);
 const h=el('h2',title,{tabindex:-1});main.append(h);commands.forEach(c=>main.append(el('code',c)));
 const search=el('input',null,{type:'search','aria-label':'show only rows with this text',placeholder:'show only ...'});
 const less=el('button','newer'),more=el('button','older'),table=el('table');
 if(rows.length>PAGE)main.append(search,less,more);else if(rows.length>8)main.append(search);
 main.append(table);let at=0;
 function draw(){
  const wanted=search.value.toLowerCase(),shown=wanted?rows.filter(r=>r.text.toLowerCase().includes(wanted)):rows;
  at=Math.max(0,Math.min(at,Math.floor((shown.length-1)/PAGE)*PAGE));table.textContent='';
  table.append(el('caption',caption+': '+(shown.length?(at+1)+' to '+Math.min(at+PAGE,shown.length)+' of ':'')+num(shown.length)));
  const head=el('tr');columns.forEach(c=>head.append(el('th',c,{scope:'col'})));const thead=el('thead');thead.append(head);
  const body=el('tbody');
  shown.slice(at,at+PAGE).forEach(r=>{const tr=el('tr');r.cells.forEach((c,i)=>{
   const td=i?el('td',null,typeof c==='number'?{'class':'n'}:{}):el('th',null,{scope:'row'});
   td.append(typeof c==='number'?num(c):c);tr.append(td)});body.append(tr)});
  table.append(thead,body);less.disabled=at===0;more.disabled=at+PAGE>=shown.length}
 search.oninput=()=>{at=0;draw()};less.onclick=()=>{at-=PAGE;draw()};more.onclick=()=>{at+=PAGE;draw()};
 draw();h.focus();say('')}
function row(text,...cells){return{text,cells}}
function datasets(){view('Datasets',[],[],'datasets',['dataset','snapshots','since (UTC)','newest (UTC)','partitions','files','bytes'],
 facts.datasets.map((d,i)=>row(d[0],link(d[0],i),...d.slice(1))))}
function dataset(d,data){const name=facts.datasets[d][0];
 view(name,[],[command([name,'--into','./back'])],'snapshots, newest first',
 ['snapshot','number','taken (UTC)','partitions','files','rows','bytes','new bytes'],
 data.commits.map((c,i)=>row(c[0]+' '+c[2],link(c[0].slice(0,12),d+'/'+i),...c.slice(1))).reverse())}
function snapshot(d,s,data){const c=data.commits[s],name=facts.datasets[d][0],rows=[];
 data.partitions.forEach(([p,spans],i)=>{const x=spans.find(x=>x[0]<=s&&s<=x[1]);
  if(x)rows.push(row(p+' '+x[5],link(p,d+'/'+s+'/'+i),x[4],x[2],x[3],x[5],data.commits[x[0]][2]))});
 view('Snapshot '+c[0].slice(0,12)+' of '+c[2]+' UTC',[[name,d]],[command([c[0],'--into','./back'])],'partitions',
 ['partition','files','rows','bytes','root','unchanged since (UTC)'],rows)}
function partition(d,s,p,data,lists){const c=data.commits[s],[name,spans]=data.partitions[p],x=spans.find(x=>x[0]<=s&&s<=x[1]);
 if(!x)return snapshot(d,s,data);
 const base=[c[0],'--only',name];
 view(name,[[facts.datasets[d][0],d],['snapshot '+c[0].slice(0,12),d+'/'+s]],[command([...base,'--to','./back'])],'files',
 ['file','role','bytes','rows','sha256','restore it'],
 lists[x[6]].map(f=>row(f.join(' '),f[0],f[1],f[2],f[3],f[4],command([...base,'--file',f[0],'--to','./back']))))}
function go(){const [d,s,p]=location.hash.slice(1).split('/').map(x=>x===''?-1:Number(x));
 if(!(d>=0)||!facts.datasets[d])return datasets();
 say('loading');load(d,d+'/dataset.js',data=>{
  if(!(s>=0)||!data.commits[s])return dataset(d,data);
  if(!(p>=0)||!data.partitions[p])return snapshot(d,s,data);
  load(d+'/'+p,d+'/'+p+'.js',lists=>partition(d,s,p,data,lists))})}
window.onhashchange=go;go()
"""


def index_html(facts: Mapping[str, Any]) -> str:
    """The page over these facts; it loads the scripts beside it when they are looked at."""
    # nothing in a name may end the script that carries it
    embedded = json.dumps(facts).replace("<", "\\u003c")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'self' file:"
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>Vault</title><style>{_STYLE}</style></head><body><header><h1>Vault</h1>",
            "<p>Each snapshot is its whole dataset. The commands restore what is shown, every hash checked.</p></header>",
            '<p id="status" role="status" aria-live="polite"></p><main id="main"></main>',
            "<noscript><p>This page needs scripts. Without: orchestrai vault list, show, find.</p></noscript>",
            f'<script type="application/json" id="facts">{embedded}</script><script>{_SCRIPT}</script></body></html>',
        )
    )
