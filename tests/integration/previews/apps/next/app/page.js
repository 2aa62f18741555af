import { said } from './said'

export default function Page() {
  return <p>Next.js says {said}</p>
}
